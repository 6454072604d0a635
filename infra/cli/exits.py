"""Exit codes: the one table. The help, the documentation and every command take them from here."""

from collections.abc import Iterable
from enum import IntEnum

from haulage.domain.status import Status


class Exit(IntEnum):
    """What a command ends with. Numbers never change their meaning: scripts compare them."""

    COMPLETED = 0
    ERROR = 1
    USAGE = 2
    FAILED = 3
    REJECTS = 4
    TAKEN_BACK = 5
    TIME_OUT = 6
    REFUSED = 7
    NOT_REACHABLE = 8
    NEEDS_ATTENTION = 9


INTERRUPTED = 130
"""Ctrl-C, as every shell knows it: 128 and the number of the signal."""

MEANINGS: dict[Exit, str] = {
    Exit.COMPLETED: "completed: everything was done, or the question was answered",
    Exit.ERROR: "error: something else went wrong; the sentence on standard error says what",
    Exit.USAGE: "usage: the command line or a setting can't be understood",
    Exit.FAILED: "failed: the operation stopped, nothing was undone",
    Exit.REJECTS: "completed with rejects: some items were rejected, all others are done",
    Exit.TAKEN_BACK: "cancelled or rolled back: a person, or a tolerance, had it so",
    Exit.TIME_OUT: "time-out: the operation had not ended in time; it goes on",
    Exit.REFUSED: "refused: nothing was changed",
    Exit.NOT_REACHABLE: "not reachable: PostgreSQL, NATS or a process of Haulage",
    Exit.NEEDS_ATTENTION: "needs attention: some of what was applied could not be compensated",
}


def name(code: Exit) -> str:
    """What a code is called: the beginning of its meaning."""
    return MEANINGS[code].partition(":")[0]


AFTER_STATUS: dict[Status, Exit] = {
    Status.COMPLETED: Exit.COMPLETED,
    Status.COMPLETED_WITH_REJECTS: Exit.REJECTS,
    Status.FAILED: Exit.FAILED,
    Status.CANCELLED: Exit.TAKEN_BACK,
    Status.ROLLED_BACK: Exit.TAKEN_BACK,
    Status.CLOSED: Exit.TAKEN_BACK,
    Status.NEEDS_ATTENTION: Exit.NEEDS_ATTENTION,
}
"""How an operation rests, as an exit code. The other statuses are left for another: there is nothing to say yet."""

AFTER_ERROR: dict[str, Exit] = {
    "refused": Exit.REFUSED,
    "input": Exit.REFUSED,
    "not_found": Exit.REFUSED,
    "in_use": Exit.REFUSED,
    "invalid": Exit.REFUSED,
    "not_reachable": Exit.NOT_REACHABLE,
    "servers": Exit.NOT_REACHABLE,
    "port_taken": Exit.NOT_REACHABLE,
    "settings": Exit.USAGE,
    "usage": Exit.USAGE,
    "time_out": Exit.TIME_OUT,
}
"""Codes of `HaulageError`, and of refusals on the bus. Any other is an error."""


def after_error(code: str) -> Exit:
    """The exit code for an error's `code`."""
    return AFTER_ERROR.get(code, Exit.ERROR)


def after_statuses(statuses: Iterable[Status]) -> Exit:
    """The exit code where several operations came to rest: 0 only when all completed, else the highest."""
    return max((AFTER_STATUS.get(status, Exit.COMPLETED) for status in statuses), default=Exit.COMPLETED)
