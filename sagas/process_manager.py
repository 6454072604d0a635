"""The process manager: reacts to events and decides what comes next for each operation.

Three pure functions. `evolve` folds what the log says into a `Dispatch`, the memory of one operation; `decide` looks at
it and says what to append and what to enqueue; `drops` says when it can be forgotten. `infra/dispatcher.py` carries the
decisions out.

What survives a crash: the dispatch is saved in the transaction of its effects, together with the position up to
which events were read, so each event is counted once. A decision that met a conflict was made on an old state: it is
dropped, and made again when the newer event has been read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from haulage.domain import operation as aggregate
from haulage.domain.chunk import ChunkApplied, ChunkCompensated, ChunkEvent, ChunkSplit
from haulage.domain.event import Context, Event, Recorded
from haulage.domain.items import Counts
from haulage.domain.operation import (
    Operation,
    OperationRollingBack,
    StepCompensated,
    StepStarted,
    decide_drained,
    decide_rolled_back,
    decide_step_compensated,
    decide_step_completed,
    steps_to_compensate,
)
from haulage.domain.ports import AppliedChunk
from haulage.domain.status import RESTS, Status
from haulage.domain.work import Task, Work

ACTOR = "haulage"
"""The actor of events that follow from other events."""

MAX_POSITION = 2**63 - 1
"""Above every position."""


class Dispatch(BaseModel):
    """What the process manager remembers of one operation.

    Forward: `next_first` is the first item of the present step that is not enqueued yet, `outstanding` the number of
    its chunks that are enqueued and not applied, `counts` what its applied chunks amount to. Backward: `drained_at` is
    the log's end when the last work in flight had ended (None: it has not), `before` the position before which the
    applied chunks of the step being compensated are not enqueued yet (None: all are), `conflicting` what was left.
    """

    model_config = ConfigDict(frozen=True)

    operation_id: UUID
    tenant: str
    kind: str
    operation: Operation = Operation()
    next_first: int = 1
    outstanding: int = 0
    counts: Counts = Counts()
    drained_at: int | None = None
    before: int | None = MAX_POSITION
    conflicting: int = 0

    @property
    def context(self) -> Context:
        """The context of the events it appends."""
        return Context(operation=self.operation_id, tenant=self.tenant, kind=self.kind, actor=ACTOR)


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next. `hold` and `withdraw` are about work that nobody has claimed."""

    dispatch: Dispatch
    events: tuple[Event, ...] = ()
    work: tuple[Work, ...] = ()
    hold: bool = False
    release: bool = False
    withdraw: bool = False


@dataclass(frozen=True, slots=True)
class AskInFlight:
    """How much of the operation's work is in flight just now?"""


@dataclass(frozen=True, slots=True)
class AskApplied:
    """Which chunks of `step` were applied, newest first, before the position `before`, at most `limit`?

    Only an answer that takes the whole log up to `complete_to` into account will do.
    """

    step: str
    before: int
    limit: int
    complete_to: int


Ask = AskInFlight | AskApplied


@dataclass(frozen=True, slots=True)
class Found:
    """What the store said to an `Ask`; None where it could not say yet.

    `head` is the log's end, read after `in_flight`: everything that was in flight before is below it.
    """

    in_flight: int | None = None
    head: int | None = None
    applied: Sequence[AppliedChunk] | None = None


def begin(recorded: Recorded) -> Dispatch:
    """The memory of an operation of which nothing has been read yet."""
    context = recorded.context
    return Dispatch(operation_id=context.operation, tenant=context.tenant, kind=context.kind)


def evolve(dispatch: Dispatch, recorded: Recorded) -> Dispatch:
    """The dispatch after one more event of its operation."""
    event = recorded.event
    if isinstance(event, ChunkEvent):
        return _evolve_chunk(dispatch, event)
    change: dict[str, object] = {"operation": aggregate.evolve(dispatch.operation, event)}
    match event:
        case StepStarted():
            change |= {"next_first": 1, "outstanding": 0, "counts": Counts()}
        case OperationRollingBack():
            change |= {"outstanding": 0, "drained_at": None}
        case StepCompensated():
            change |= {"before": MAX_POSITION, "conflicting": 0, "outstanding": 0}
    return dispatch.model_copy(update=change)


def _evolve_chunk(dispatch: Dispatch, event: ChunkEvent) -> Dispatch:
    rolling_back = dispatch.operation.status is Status.ROLLING_BACK
    match event:
        case ChunkCompensated():
            left = sum(group.count for group in event.conflicting)
            return dispatch.model_copy(
                update={"outstanding": dispatch.outstanding - 1, "conflicting": dispatch.conflicting + left}
            )
        case _ if rolling_back or event.step != dispatch.operation.step:
            return dispatch
        case ChunkApplied():
            change: dict[str, object] = {
                "outstanding": dispatch.outstanding - 1,
                "counts": dispatch.counts.plus(event.counts),
            }
            return dispatch.model_copy(update=change)
        case ChunkSplit():
            return dispatch.model_copy(update={"outstanding": dispatch.outstanding + 1})
        case _:
            return dispatch


def decide(dispatch: Dispatch, window: int, found: Found | None = None) -> Decision:
    """What comes next for an operation whose events have been read.

    `window` is how many of its chunks may be enqueued at once; `found` what the store says to `asks`.
    """
    found = found or Found()
    match dispatch.operation.status:
        case Status.RUNNING:
            return _run(dispatch, window)
        case Status.PAUSING | Status.CANCELLING:
            return _drain(dispatch, found)
        case Status.ROLLING_BACK:
            return _roll_back(dispatch, found)
        case Status.FAILED:
            return Decision(_drained(dispatch, found), withdraw=True)
        case status if status in RESTS:
            return Decision(dispatch, withdraw=True)
        case _:
            return Decision(dispatch)


def asks(dispatch: Dispatch, window: int) -> Ask | None:
    """What must be found out before it can be decided; None where the events alone are enough."""
    status = dispatch.operation.status
    if status in {Status.PAUSING, Status.CANCELLING, Status.FAILED}:
        return AskInFlight()
    if status is not Status.ROLLING_BACK:
        return None
    if dispatch.drained_at is None:
        return AskInFlight()
    steps = steps_to_compensate(dispatch.operation)
    room = window - dispatch.outstanding
    if steps and dispatch.before is not None and room > 0:
        return AskApplied(steps[0], dispatch.before, room, dispatch.drained_at)
    return None


def drops(dispatch: Dispatch) -> bool:
    """Whether nothing will ever come next.

    A failure waits for nobody: what is in flight then may still be given back, and must be withdrawn.
    """
    status = dispatch.operation.status
    return status in RESTS and (status is not Status.FAILED or dispatch.drained_at is not None)


def _run(dispatch: Dispatch, window: int) -> Decision:
    operation = dispatch.operation
    if operation.step is None or operation.step in operation.completed_steps:
        return Decision(dispatch)
    if dispatch.counts.done == operation.items:
        return Decision(dispatch, events=decide_step_completed(operation, operation.step, dispatch.counts))
    work = tuple(_top_up(dispatch, operation.step, window))
    if not work:
        return Decision(dispatch, release=True)
    change = {"next_first": work[-1].last + 1, "outstanding": dispatch.outstanding + len(work)}
    return Decision(dispatch.model_copy(update=change), work=work, release=True)


def _top_up(dispatch: Dispatch, step: str, window: int) -> Iterator[Work]:
    operation = dispatch.operation
    first, room = dispatch.next_first, window - dispatch.outstanding
    while first <= operation.items and room > 0:
        last = min(first + operation.chunk_items - 1, operation.items)
        yield chunk_work(dispatch, step, first, last)
        first, room = last + 1, room - 1


def chunk_work(dispatch: Dispatch, step: str, first: int, last: int) -> Work:
    """The work of applying one chunk."""
    return Work(
        operation=dispatch.operation_id,
        tenant=dispatch.tenant,
        kind=dispatch.kind,
        definition_version=dispatch.operation.definition_version,
        task=Task.APPLY,
        step=step,
        first=first,
        last=last,
        priority=dispatch.operation.priority,
    )


def _drain(dispatch: Dispatch, found: Found) -> Decision:
    cancelling = dispatch.operation.status is Status.CANCELLING
    events = decide_drained(dispatch.operation) if found.in_flight == 0 else ()
    return Decision(dispatch, events=events, hold=not cancelling, withdraw=cancelling)


def _drained(dispatch: Dispatch, found: Found) -> Dispatch:
    return dispatch.model_copy(update={"drained_at": found.head if found.in_flight == 0 else None})


def _roll_back(dispatch: Dispatch, found: Found) -> Decision:
    if dispatch.drained_at is None:
        return Decision(_drained(dispatch, found), withdraw=True)
    steps = steps_to_compensate(dispatch.operation)
    if not steps:
        return Decision(dispatch, events=decide_rolled_back(dispatch.operation))
    if dispatch.before is None and dispatch.outstanding == 0:
        return Decision(dispatch, events=decide_step_compensated(dispatch.operation, steps[0], dispatch.conflicting))
    if not found.applied:
        # An empty answer is the end of the step; no answer yet means to ask again.
        before = dispatch.before if found.applied is None else None
        return Decision(dispatch.model_copy(update={"before": before}))
    work = tuple(
        replace(chunk_work(dispatch, steps[0], chunk.first, chunk.last), task=Task.COMPENSATE)
        for chunk in found.applied
    )
    change = {"before": found.applied[-1].position, "outstanding": dispatch.outstanding + len(work)}
    return Decision(dispatch.model_copy(update=change), work=work)
