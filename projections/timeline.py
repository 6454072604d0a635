"""The timeline: what happened to an operation, in steps a person can follow.

One entry an event of the operation; the events of its chunks, which may be thousands, are condensed into one entry for
each step and kind of event, placed where the first of them happened. Failed attempts and splits are listed in theirs,
up to a bound. The fold changes the entries it is given and returns them, and depends on the events alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from haulage.domain import chunk, operation
from haulage.domain.event import Event, Recorded
from haulage.projections.faults import storable, unknown_event
from haulage.projections.tally import tally

NAME = "timeline"

MAX_LISTED = 20
"""Failed attempts, and splits, that one entry lists; the later ones are only counted."""


class Key(NamedTuple):
    """Which entry. `step` is empty for an event of the operation, `position` 0 for a condensed entry."""

    operation: UUID
    topic: str
    step: str
    position: int


@dataclass(slots=True)
class Entry:
    """An event of the operation, or the `events` of its chunks with this `topic` in this `step`.

    `position`, `at` and `actor` are those of the first event, `last_position` and `last_at` those of the last. `detail`
    is JSON: the event's own fields, or what the condensed events amount to.
    """

    operation: UUID
    topic: str
    step: str
    position: int
    at: datetime
    actor: str
    last_position: int
    last_at: datetime
    condensed: bool
    events: int = 0
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Where the views keep it."""
        return Key(self.operation, self.topic, self.step, 0 if self.condensed else self.position)


Views = dict[Key, Entry]
"""Entries of all operations."""


def fold(views: Views, recorded: Recorded) -> Views:
    """`views` with one more event taken in. FoldError: there is no rule for it."""
    event = recorded.event
    condense = _CHUNK_RULES.get(type(event))
    if condense is not None:
        _condense(views, recorded, event, condense)
    elif type(event) in _OPERATION_EVENTS:
        entry = _new(recorded, step="", condensed=False)
        entry.events, entry.detail = 1, _fields(event)
        views[entry.key] = entry
    else:
        raise unknown_event(NAME, recorded)
    return views


def _condense(views: Views, recorded: Recorded, event: Any, condense: Callable[[Entry, datetime, Any], None]) -> None:
    key = Key(recorded.context.operation, event.topic, event.step, 0)
    entry = views.get(key)
    if entry is None:
        entry = views[key] = _new(recorded, event.step, condensed=True)
    entry.events += 1
    entry.last_position = recorded.position
    entry.last_at = max(recorded.at, entry.last_at)
    condense(entry, recorded.at, event)


def _fields(event: Event) -> dict[str, Any]:
    fields = event.model_dump(mode="json")
    return {name: storable(value) if isinstance(value, str) else value for name, value in fields.items()}


def _new(recorded: Recorded, step: str, condensed: bool) -> Entry:
    return Entry(
        operation=recorded.context.operation,
        topic=recorded.event.topic,
        step=step,
        position=recorded.position,
        at=recorded.at,
        actor=recorded.context.actor,
        last_position=recorded.position,
        last_at=recorded.at,
        condensed=condensed,
    )


# -- condensing events of chunks ---------------------------------------------------------------------------------------
def _applied(entry: Entry, at: datetime, event: chunk.ChunkApplied) -> None:
    succeeded, skipped, rejected = tally(event)
    _add(entry, succeeded=succeeded, skipped=skipped, rejected=rejected)


def _compensated(entry: Entry, at: datetime, event: chunk.ChunkCompensated) -> None:
    conflicting = sum(group.count for group in event.conflicting)
    _add(entry, items=event.last - event.first + 1, conflicting=conflicting)


def _attempt_failed(entry: Entry, at: datetime, event: chunk.ChunkAttemptFailed) -> None:
    _list(entry, at, first=event.first, last=event.last, attempt=event.attempt, error=storable(event.error))


def _split(entry: Entry, at: datetime, event: chunk.ChunkSplit) -> None:
    _list(entry, at, first=event.first, last=event.last, middle=event.middle, error=storable(event.error))


def _add(entry: Entry, **numbers: int) -> None:
    detail = entry.detail
    for name, number in numbers.items():
        detail[name] = detail.get(name, 0) + number


def _list(entry: Entry, at: datetime, **what: int | str) -> None:
    listed = entry.detail.setdefault("listed", [])
    if len(listed) < MAX_LISTED:
        # In UTC whatever zone the reader's connection has: the view depends on the events alone.
        listed.append({"at": at.astimezone(UTC).isoformat(), **what})


_CHUNK_RULES: dict[type[Event], Callable[[Entry, datetime, Any], None]] = {
    chunk.ChunkApplied: _applied,
    chunk.ChunkAttemptFailed: _attempt_failed,
    chunk.ChunkSplit: _split,
    chunk.ChunkCompensated: _compensated,
}

_OPERATION_EVENTS: frozenset[type[Event]] = frozenset(
    {
        operation.OperationRequested,
        operation.PlanningStarted,
        operation.OperationPlanned,
        operation.StepStarted,
        operation.StepCompleted,
        operation.OperationCompleted,
        operation.OperationFailed,
        operation.OperationPausing,
        operation.OperationPaused,
        operation.OperationResumed,
        operation.OperationCancelling,
        operation.OperationCancelled,
        operation.OperationRollingBack,
        operation.StepCompensated,
        operation.OperationRolledBack,
        operation.OperationNeedsAttention,
        operation.OperationClosed,
    }
)
