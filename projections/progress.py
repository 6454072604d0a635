"""Progress: how far each operation is, at which pace, and how it ended. One row an operation.

The fold changes the rows it is given and returns them, as a running total does; it depends on the events alone, never
on the clock, so the same log always gives the same rows, whatever groups it is read in.

A step works on every item, so counts are those of the step at hand; `applied` and `compensated` count items over all
steps. Seconds of work leave out the time in which an operation was paused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from haulage.domain import chunk, operation
from haulage.domain.event import Event, Recorded
from haulage.domain.items import Counts
from haulage.domain.status import ENDS, RESTS, Status
from haulage.projections.faults import never_requested, storable, unknown_event
from haulage.projections.pace import Pace
from haulage.projections.tally import tally

NAME = "progress"


@dataclass(slots=True)
class Progress:
    """How far an operation is.

    `total` (items) is None until it is planned. `working_since` is the time up to which its seconds of work are
    counted, None while it does not work. `position` is that of the last event taken in.
    """

    operation: UUID
    tenant: str
    kind: str
    actor: str
    definition_version: int
    priority: int
    requested_at: datetime
    updated_at: datetime
    position: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: Status = Status.REQUESTED
    steps: tuple[str, ...] = ()
    step: str | None = None
    total: int | None = None
    succeeded: int = 0
    skipped: int = 0
    rejected: int = 0
    chunks: int = 0
    failed_attempts: int = 0
    splits: int = 0
    applied: int = 0
    compensated: int = 0
    conflicting: int = 0
    error_code: str | None = None
    error: str | None = None
    working_since: datetime | None = None
    working_seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)

    @property
    def done(self) -> int:
        """Items that have an outcome in the present step."""
        return self.succeeded + self.skipped + self.rejected


Views = dict[UUID, Progress]
"""Progress by operation."""


def fold(views: Views, recorded: Recorded) -> Views:
    """`views` with one more event taken in. FoldError: no rule for it, or its operation was never requested."""
    event, operation_id = recorded.event, recorded.context.operation
    rule = _RULES.get(type(event))
    if rule is None:
        raise unknown_event(NAME, recorded)
    progress = views.get(operation_id)
    if progress is None:
        progress = views[operation_id] = _begin(recorded)
    at = recorded.at
    rule(progress, at, event)
    progress.position = recorded.position
    if at > progress.updated_at:
        progress.updated_at = at
    return views


def _begin(recorded: Recorded) -> Progress:
    event, context = recorded.event, recorded.context
    if not isinstance(event, operation.OperationRequested):
        raise never_requested(NAME, recorded)
    return Progress(
        operation=context.operation,
        tenant=context.tenant,
        kind=context.kind,
        actor=context.actor,
        definition_version=event.definition_version,
        priority=event.priority,
        requested_at=recorded.at,
        updated_at=recorded.at,
    )


# -- time --------------------------------------------------------------------------------------------------------------
def _work_until(progress: Progress, at: datetime) -> None:
    """Count the seconds of work up to `at`; none where the times of events are out of order."""
    since = progress.working_since
    if since is not None and at > since:
        progress.working_seconds += (at - since).total_seconds()
        progress.working_since = at


def _begin_work(progress: Progress, at: datetime) -> None:
    if progress.working_since is None:
        progress.working_since = at


def _set_out(progress: Progress, at: datetime) -> None:
    """Begin work of another kind, a step or a rollback: it has a pace of its own."""
    _begin_work(progress, at)
    _work_until(progress, at)
    progress.pace = Pace(until_seconds=progress.working_seconds)


def _end_work(progress: Progress, at: datetime) -> None:
    _work_until(progress, at)
    progress.working_since = None


# -- rules: chunks -----------------------------------------------------------------------------------------------------
def _chunk_applied(progress: Progress, at: datetime, event: chunk.ChunkApplied) -> None:
    items = event.last - event.first + 1
    succeeded, skipped, rejected = tally(event)
    progress.succeeded += succeeded
    progress.skipped += skipped
    progress.rejected += rejected
    progress.chunks += 1
    progress.applied += items
    _work_until(progress, at)
    progress.pace.add(items, progress.working_seconds)


def _attempt_failed(progress: Progress, at: datetime, event: chunk.ChunkAttemptFailed) -> None:
    progress.failed_attempts += 1


def _chunk_split(progress: Progress, at: datetime, event: chunk.ChunkSplit) -> None:
    progress.splits += 1


def _chunk_compensated(progress: Progress, at: datetime, event: chunk.ChunkCompensated) -> None:
    items = event.last - event.first + 1
    progress.step = event.step
    progress.compensated += items
    progress.conflicting += sum(group.count for group in event.conflicting)
    _work_until(progress, at)
    progress.pace.add(items, progress.working_seconds)


# -- rules: the operation ----------------------------------------------------------------------------------------------
def _status_only(progress: Progress, at: datetime, event: Event) -> None:
    progress.status = operation.status_after(event, progress.status)
    if progress.status in RESTS:
        _end_work(progress, at)
    if progress.status in ENDS:
        progress.ended_at = at


def _planned(progress: Progress, at: datetime, event: operation.OperationPlanned) -> None:
    progress.total = event.items
    progress.steps = event.steps


def _step_started(progress: Progress, at: datetime, event: operation.StepStarted) -> None:
    _status_only(progress, at, event)
    progress.step = event.step
    progress.started_at = progress.started_at or at
    _set_counts(progress, Counts())
    _set_out(progress, at)


def _step_completed(progress: Progress, at: datetime, event: operation.StepCompleted) -> None:
    _set_counts(progress, event.counts)


def _completed(progress: Progress, at: datetime, event: operation.OperationCompleted) -> None:
    _set_counts(progress, event.counts)
    _status_only(progress, at, event)


def _failed(progress: Progress, at: datetime, event: operation.OperationFailed) -> None:
    progress.error_code, progress.error = event.code, storable(event.message)
    _status_only(progress, at, event)


def _paused(progress: Progress, at: datetime, event: operation.OperationPaused) -> None:
    _status_only(progress, at, event)
    _end_work(progress, at)


def _resumed(progress: Progress, at: datetime, event: operation.OperationResumed) -> None:
    _status_only(progress, at, event)
    _begin_work(progress, at)


def _rolling_back(progress: Progress, at: datetime, event: operation.OperationRollingBack) -> None:
    _status_only(progress, at, event)
    _set_out(progress, at)


def _set_counts(progress: Progress, counts: Counts) -> None:
    progress.succeeded, progress.skipped, progress.rejected = counts.succeeded, counts.skipped, counts.rejected


_RULES: dict[type[Event], Callable[[Progress, datetime, Any], None]] = {
    operation.OperationRequested: _status_only,
    operation.PlanningStarted: _status_only,
    operation.OperationPlanned: _planned,
    operation.StepStarted: _step_started,
    operation.StepCompleted: _step_completed,
    operation.OperationCompleted: _completed,
    operation.OperationFailed: _failed,
    operation.OperationPausing: _status_only,
    operation.OperationPaused: _paused,
    operation.OperationResumed: _resumed,
    operation.OperationCancelling: _status_only,
    operation.OperationCancelled: _status_only,
    operation.OperationRollingBack: _rolling_back,
    operation.StepCompensated: _status_only,
    operation.OperationRolledBack: _status_only,
    operation.OperationNeedsAttention: _status_only,
    operation.OperationClosed: _status_only,
    chunk.ChunkApplied: _chunk_applied,
    chunk.ChunkAttemptFailed: _attempt_failed,
    chunk.ChunkSplit: _chunk_split,
    chunk.ChunkCompensated: _chunk_compensated,
}
