"""The process manager: reacts to events and decides what comes next for each operation.

Three pure functions. `evolve` folds what the log says into a `Dispatch`, the memory of one operation; `decide` looks at
it and says what to append and what to enqueue; `drops` says when it can be forgotten. `infra/dispatcher.py` carries the
decisions out.

What survives a crash: the dispatch is saved in the transaction of its effects, together with the position up to
which events were read, so each event is counted once. A decision that met a conflict was made on an old state: it is
dropped, and made again when the newer event has been read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from haulage.domain import operation as aggregate
from haulage.domain.chunk import ChunkApplied, ChunkEvent, ChunkSplit
from haulage.domain.event import Context, Event, Recorded
from haulage.domain.items import Counts
from haulage.domain.operation import Operation, StepStarted, decide_drained, decide_step_completed
from haulage.domain.status import RESTS, Status
from haulage.domain.work import Task, Work

ACTOR = "haulage"
"""The actor of events that follow from other events."""


class Dispatch(BaseModel):
    """What the process manager remembers of one operation.

    `next_first` is the first item of the present step that is not enqueued yet, `outstanding` the number of its chunks
    that are enqueued and not applied, `counts` what its applied chunks amount to.
    """

    model_config = ConfigDict(frozen=True)

    operation_id: UUID
    tenant: str
    kind: str
    operation: Operation = Operation()
    next_first: int = 1
    outstanding: int = 0
    counts: Counts = Counts()

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
    if isinstance(event, StepStarted):
        change |= {"next_first": 1, "outstanding": 0, "counts": Counts()}
    return dispatch.model_copy(update=change)


def _evolve_chunk(dispatch: Dispatch, event: ChunkEvent) -> Dispatch:
    if event.step != dispatch.operation.step:
        return dispatch
    match event:
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


def decide(dispatch: Dispatch, window: int, in_flight: int | None = None) -> Decision:
    """What comes next for an operation whose events have been read.

    `window` is how many of its chunks may be enqueued at once; `in_flight` how many pieces of its work are claimed just
    now, where that was asked for (`needs_drain`).
    """
    match dispatch.operation.status:
        case Status.RUNNING:
            return _run(dispatch, window)
        case Status.PAUSING | Status.CANCELLING:
            return _drain(dispatch, in_flight)
        case status if status in RESTS:
            return Decision(dispatch, withdraw=True)
        case _:
            return Decision(dispatch)


def needs_drain(dispatch: Dispatch) -> bool:
    """Whether what comes next depends on the work in flight."""
    return dispatch.operation.status in {Status.PAUSING, Status.CANCELLING}


def drops(dispatch: Dispatch) -> bool:
    """Whether nothing will ever come next."""
    return dispatch.operation.status in RESTS


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


def _drain(dispatch: Dispatch, in_flight: int | None) -> Decision:
    cancelling = dispatch.operation.status is Status.CANCELLING
    events = decide_drained(dispatch.operation) if in_flight == 0 else ()
    return Decision(dispatch, events=events, hold=not cancelling, withdraw=cancelling)
