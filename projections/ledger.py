"""The ledger: the outcomes of all applied chunks. It answers what happened to item 4,711.

One row a chunk, however many items it has: items that its exceptions do not name succeeded. The fold changes the rows
it is given and returns them, and depends on the events alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from haulage.domain import chunk, operation
from haulage.domain.event import Event, Recorded
from haulage.domain.items import Outcome, OutcomeKind, OutcomeRuns, outcome_of
from haulage.projections.faults import not_applied, unknown_event
from haulage.projections.tally import tally

NAME = "ledger"


class Key(NamedTuple):
    """Which chunk: chunks of a step do not overlap, so the first item tells."""

    operation: UUID
    step: str
    first: int


@dataclass(slots=True)
class Entry:
    """One applied chunk, items `first` to `last`. `position`, `at` and `attempt` are those of `chunk.applied`.

    The `compensated_…` fields are those of `chunk.compensated`, None before; `conflicting` items were left as they were
    by the compensation, since they had changed meanwhile.
    """

    operation: UUID
    step: str
    first: int
    last: int
    position: int
    at: datetime
    attempt: int
    succeeded: int
    skipped: int
    rejected: int
    exceptions: tuple[OutcomeRuns, ...] = ()
    compensated_position: int | None = None
    compensated_at: datetime | None = None
    conflicting: tuple[OutcomeRuns, ...] = ()


Views = dict[Key, Entry]
"""Applied chunks by step and first item."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one item in one step, and whether it was undone later.

    `undone` is None where nothing was compensated, or the item had no effect; False where the compensation left it
    as it was, for the reason `left`.
    """

    step: str
    outcome: Outcome
    chunk: Entry
    undone: bool | None = None
    left: str | None = None


def fold(views: Views, recorded: Recorded) -> Views:
    """`views` with one more event taken in. FoldError: no rule for it, or a compensation of what was not applied."""
    event = recorded.event
    if (rule := _RULES.get(type(event))) is None:
        raise unknown_event(NAME, recorded)
    rule(views, recorded, event)
    return views


def key(recorded: Recorded, event: chunk.ChunkEvent) -> Key:
    """Which entry an event of a chunk is about."""
    return Key(recorded.context.operation, event.step, event.first)


def item_outcome(entry: Entry, ordinal: int) -> ItemOutcome:
    """What `entry` says about one of its items."""
    outcome = outcome_of(ordinal, entry.exceptions)
    if entry.compensated_position is None or outcome.kind is not OutcomeKind.SUCCEEDED:
        return ItemOutcome(entry.step, outcome, entry)
    left = outcome_of(ordinal, entry.conflicting)
    undone = left.kind is OutcomeKind.SUCCEEDED
    return ItemOutcome(entry.step, outcome, entry, undone=undone, left=None if undone else left.code)


def _ignored(views: Views, recorded: Recorded, event: Event) -> None:
    """Events that say nothing about the outcome of an item."""


def _applied(views: Views, recorded: Recorded, event: chunk.ChunkApplied) -> None:
    succeeded, skipped, rejected = tally(event)
    views[key(recorded, event)] = Entry(
        operation=recorded.context.operation,
        step=event.step,
        first=event.first,
        last=event.last,
        position=recorded.position,
        at=recorded.at,
        attempt=event.attempt,
        succeeded=succeeded,
        skipped=skipped,
        rejected=rejected,
        exceptions=event.exceptions,
    )


def _compensated(views: Views, recorded: Recorded, event: chunk.ChunkCompensated) -> None:
    entry = views.get(key(recorded, event))
    if entry is None:
        raise not_applied(NAME, recorded)
    entry.compensated_position, entry.compensated_at = recorded.position, recorded.at
    entry.conflicting = event.conflicting


_RULES: dict[type[Event], Callable[[Views, Recorded, Any], None]] = {
    chunk.ChunkApplied: _applied,
    chunk.ChunkCompensated: _compensated,
    chunk.ChunkAttemptFailed: _ignored,
    chunk.ChunkSplit: _ignored,
    operation.OperationRequested: _ignored,
    operation.PlanningStarted: _ignored,
    operation.OperationPlanned: _ignored,
    operation.StepStarted: _ignored,
    operation.StepCompleted: _ignored,
    operation.OperationCompleted: _ignored,
    operation.OperationFailed: _ignored,
    operation.OperationPausing: _ignored,
    operation.OperationPaused: _ignored,
    operation.OperationResumed: _ignored,
    operation.OperationCancelling: _ignored,
    operation.OperationCancelled: _ignored,
    operation.OperationRollingBack: _ignored,
    operation.StepCompensated: _ignored,
    operation.OperationRolledBack: _ignored,
    operation.OperationNeedsAttention: _ignored,
    operation.OperationClosed: _ignored,
}
