"""The statuses of an operation and every legal transition between them, each with the reason it happens.

Request and effect are two statuses: `pausing` is asked for, `paused` has happened. Ends are final. The table is the
document: `decide` in `domain/operation.py` refuses what is not in it, and the documentation is drawn from it.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where an operation stands."""

    REQUESTED = "requested"
    PLANNING = "planning"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    NEEDS_ATTENTION = "needs_attention"
    CLOSED = "closed"
    COMPLETED = "completed"
    COMPLETED_WITH_REJECTS = "completed_with_rejects"
    FAILED = "failed"


S = Status

TRANSITIONS: dict[tuple[Status, Status], str] = {
    (S.REQUESTED, S.PLANNING): "a worker begins to stage the items",
    (S.REQUESTED, S.FAILED): "the input or a parameter turns out to be unusable before any item was staged",
    (S.REQUESTED, S.CANCELLING): "a person cancels before the planning began",
    (S.PLANNING, S.RUNNING): "the plan is complete: the first step starts",
    (S.PLANNING, S.COMPLETED): "the plan has no items: there is nothing to do",
    (S.PLANNING, S.FAILED): "the input can't be staged",
    (S.PLANNING, S.CANCELLING): "a person cancels while items are being staged",
    (S.RUNNING, S.PAUSING): "a person, or a tolerance that was exceeded, asks for a pause",
    (S.RUNNING, S.WAITING): "a step waits for a timer, an event or an approval",
    (S.RUNNING, S.COMPLETED): "the last step is complete and no item was rejected",
    (S.RUNNING, S.COMPLETED_WITH_REJECTS): "the last step is complete; some items were rejected",
    (S.RUNNING, S.FAILED): "a step can't go on; nothing is undone",
    (S.RUNNING, S.CANCELLING): "a person cancels",
    (S.RUNNING, S.ROLLING_BACK): "a person, or a tolerance that was exceeded, asks to roll back",
    (S.PAUSING, S.PAUSED): "the last chunk in flight has ended",
    (S.PAUSING, S.RUNNING): "a person resumes before the pause took effect",
    (S.PAUSING, S.CANCELLING): "a person cancels before the pause took effect",
    (S.PAUSED, S.RUNNING): "a person resumes",
    (S.PAUSED, S.CANCELLING): "a person cancels",
    (S.PAUSED, S.ROLLING_BACK): "a person asks to roll back",
    (S.WAITING, S.RUNNING): "what was waited for has come",
    (S.WAITING, S.PAUSING): "a person asks for a pause; the timer stands still",
    (S.WAITING, S.FAILED): "what was waited for did not come in time",
    (S.WAITING, S.CANCELLING): "a person cancels",
    (S.WAITING, S.ROLLING_BACK): "a person asks to roll back",
    (S.CANCELLING, S.CANCELLED): "the last chunk in flight has ended; what was applied stays",
    (S.CANCELLING, S.ROLLING_BACK): "a person asks to roll back what was applied",
    (S.ROLLING_BACK, S.ROLLED_BACK): "every applied chunk is compensated",
    (S.ROLLING_BACK, S.NEEDS_ATTENTION): "some of what was applied can't be compensated",
    (S.NEEDS_ATTENTION, S.CLOSED): "a person has seen to what was left, and says how",
}

ENDS = frozenset({S.CANCELLED, S.ROLLED_BACK, S.CLOSED, S.COMPLETED, S.COMPLETED_WITH_REJECTS, S.FAILED})
"""Statuses no transition leaves."""

RESTS = ENDS | {S.NEEDS_ATTENTION}
"""Statuses that Haulage by itself never leaves: a follower can stop following."""


def may(before: Status, after: Status) -> bool:
    """Whether the table knows the transition."""
    return (before, after) in TRANSITIONS
