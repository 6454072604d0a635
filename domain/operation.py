"""The operation: the saga aggregate. A few dozen events whatever its size; items and chunks are not in here.

Read from top to bottom: events, state, evolve, fold, decide. The names of the topics and of the fields are the
storage format.
"""

from collections.abc import Iterable, Set
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from haulage.domain import commands as c
from haulage.domain.errors import RefusedError
from haulage.domain.event import Event
from haulage.domain.items import Counts
from haulage.domain.status import ENDS, Status, may


# -- events ------------------------------------------------------------------------------------------------------------
class OperationRequested(Event):
    """Asked for and accepted. The parameters themselves are in a row that can be redacted; here is their digest."""

    topic: ClassVar[str] = "operation.requested.v1"

    definition_version: int
    parameters_digest: str
    priority: int = 0


class PlanningStarted(Event):
    """A worker began to stage the items."""

    topic: ClassVar[str] = "operation.planning_started.v1"


class OperationPlanned(Event):
    """All items are staged; the plan is fixed.

    `manifest_digest` covers every item, `input_digest` is the SHA-256 of the input's bytes, `steps` the names in order.
    """

    topic: ClassVar[str] = "operation.planned.v1"

    items: int
    blocks: int
    manifest_digest: str
    input_digest: str | None = None
    input_bytes: int | None = None
    steps: tuple[str, ...]
    chunk_items: int


class StepStarted(Event):
    """A step began."""

    topic: ClassVar[str] = "operation.step_started.v1"

    step: str


class StepCompleted(Event):
    """Every item of the step has its outcome."""

    topic: ClassVar[str] = "operation.step_completed.v1"

    step: str
    counts: Counts


class OperationCompleted(Event):
    """The last step is complete. `counts` are those of the operation; any reject makes it `completed_with_rejects`."""

    topic: ClassVar[str] = "operation.completed.v1"

    counts: Counts


class OperationFailed(Event):
    """Stopped for good, nothing undone. `message` is a sentence without personal data; `step` where it happened."""

    topic: ClassVar[str] = "operation.failed.v1"

    code: str
    message: str
    step: str | None = None


class OperationPausing(Event):
    """A pause was asked for; chunks in flight still end."""

    topic: ClassVar[str] = "operation.pausing.v1"

    reason: str | None = None


class OperationPaused(Event):
    """Nothing is in flight any more."""

    topic: ClassVar[str] = "operation.paused.v1"


class OperationResumed(Event):
    """Goes on after a pause."""

    topic: ClassVar[str] = "operation.resumed.v1"

    reason: str | None = None


class OperationCancelling(Event):
    """A cancellation was asked for; chunks in flight still end."""

    topic: ClassVar[str] = "operation.cancelling.v1"

    reason: str | None = None


class OperationCancelled(Event):
    """Nothing is in flight any more, and nothing will be; what was applied stays."""

    topic: ClassVar[str] = "operation.cancelled.v1"


class OperationRollingBack(Event):
    """A rollback was asked for; when the chunks in flight have ended, what was applied is compensated."""

    topic: ClassVar[str] = "operation.rolling_back.v1"

    reason: str | None = None


class StepCompensated(Event):
    """Every applied chunk of the step is compensated; `conflicting` items had changed since and were left."""

    topic: ClassVar[str] = "operation.step_compensated.v1"

    step: str
    conflicting: int = 0


class OperationRolledBack(Event):
    """Everything that was applied is compensated."""

    topic: ClassVar[str] = "operation.rolled_back.v1"


class OperationNeedsAttention(Event):
    """Some of what was applied could not be compensated: `items` of them are left for a person."""

    topic: ClassVar[str] = "operation.needs_attention.v1"

    items: int


class OperationClosed(Event):
    """A person has seen to what was left."""

    topic: ClassVar[str] = "operation.closed.v1"

    reason: str


EVENTS: tuple[type[Event], ...] = (
    OperationRequested,
    PlanningStarted,
    OperationPlanned,
    StepStarted,
    StepCompleted,
    OperationCompleted,
    OperationFailed,
    OperationPausing,
    OperationPaused,
    OperationResumed,
    OperationCancelling,
    OperationCancelled,
    OperationRollingBack,
    StepCompensated,
    OperationRolledBack,
    OperationNeedsAttention,
    OperationClosed,
)


# -- state -------------------------------------------------------------------------------------------------------------
class Operation(BaseModel):
    """An operation as its stream tells it. `version` 0 is one that does not exist yet."""

    model_config = ConfigDict(frozen=True)

    version: int = 0
    status: Status = Status.REQUESTED
    definition_version: int = 0
    parameters_digest: str = ""
    priority: int = 0
    items: int = 0
    chunk_items: int = 0
    steps: tuple[str, ...] = ()
    step: str | None = None
    completed_steps: tuple[str, ...] = ()
    compensated_steps: tuple[str, ...] = ()
    counts: Counts = Counts()
    left: int = 0

    @property
    def exists(self) -> bool:
        """Whether it was ever requested."""
        return self.version > 0

    @property
    def ended(self) -> bool:
        """Whether it is in a status no transition leaves."""
        return self.exists and self.status in ENDS


# -- evolve and fold ---------------------------------------------------------------------------------------------------
STATUS_AFTER: dict[type[Event], Status] = {
    OperationRequested: Status.REQUESTED,
    PlanningStarted: Status.PLANNING,
    StepStarted: Status.RUNNING,
    OperationFailed: Status.FAILED,
    OperationPausing: Status.PAUSING,
    OperationPaused: Status.PAUSED,
    OperationResumed: Status.RUNNING,
    OperationCancelling: Status.CANCELLING,
    OperationCancelled: Status.CANCELLED,
    OperationRollingBack: Status.ROLLING_BACK,
    OperationRolledBack: Status.ROLLED_BACK,
    OperationNeedsAttention: Status.NEEDS_ATTENTION,
    OperationClosed: Status.CLOSED,
}


def status_after(event: Event, before: Status) -> Status:
    """The status `event` leads to; most that are not transitions leave it as it is."""
    if isinstance(event, OperationCompleted):
        return Status.COMPLETED_WITH_REJECTS if event.counts.rejected else Status.COMPLETED
    return STATUS_AFTER.get(type(event), before)


def evolve(operation: Operation, event: Event) -> Operation:
    """The operation after `event`."""
    change: dict[str, object] = {
        "version": operation.version + 1,
        "status": status_after(event, operation.status),
    }
    match event:
        case OperationRequested():
            change |= {
                "definition_version": event.definition_version,
                "parameters_digest": event.parameters_digest,
                "priority": event.priority,
            }
        case OperationPlanned():
            change |= {"items": event.items, "steps": event.steps, "chunk_items": event.chunk_items}
        case StepStarted():
            change |= {"step": event.step}
        case StepCompleted():
            change |= {"completed_steps": (*operation.completed_steps, event.step), "counts": event.counts}
        case OperationCompleted():
            change |= {"counts": event.counts, "step": None}
        case StepCompensated():
            change |= {
                "compensated_steps": (*operation.compensated_steps, event.step),
                "left": operation.left + event.conflicting,
            }
    return operation.model_copy(update=change)


def fold(events: Iterable[Event], operation: Operation | None = None) -> Operation:
    """The operation from its stream, or from a state and the events after it."""
    operation = operation or Operation()
    for event in events:
        operation = evolve(operation, event)
    return operation


GOES_ON = frozenset({Status.REQUESTED, Status.PLANNING, Status.RUNNING, Status.WAITING})
"""Statuses in which nobody has to resume an operation: it goes on by itself."""


# -- decide: what people ask for ---------------------------------------------------------------------------------------
def decide(operation: Operation, command: c.Command) -> tuple[Event, ...]:
    """The events a command leads to; none where it has had its effect already.

    Raises `RefusedError` where the table of transitions has no place for it.
    """
    match command:
        case c.PauseOperation():
            return _ask(operation, OperationPausing(reason=command.reason), done={Status.PAUSED})
        case c.ResumeOperation():
            return _ask(operation, OperationResumed(reason=command.reason), done=GOES_ON)
        case c.CancelOperation():
            return _ask(operation, OperationCancelling(reason=command.reason), done={Status.CANCELLED})
        case c.RollBackOperation():
            done = {Status.ROLLED_BACK, Status.NEEDS_ATTENTION}
            return _ask(operation, OperationRollingBack(reason=command.reason), done=done)
        case c.CloseOperation():
            return _ask(operation, OperationClosed(reason=command.reason))
        case _:
            raise RefusedError(f"{type(command).__name__} is not a command to an operation that exists")


def _ask(operation: Operation, event: Event, done: Set[Status] = frozenset()) -> tuple[Event, ...]:
    if not operation.exists:
        raise RefusedError("there is no such operation")
    after = status_after(event, operation.status)
    if operation.status is after or operation.status in done:
        return ()
    if not may(operation.status, after):
        raise RefusedError(f"an operation that is {operation.status} can't become {after}")
    return (event,)


# -- decide: what the engine found -------------------------------------------------------------------------------------
def decide_request(operation: Operation, requested: OperationRequested) -> tuple[Event, ...]:
    """Begin a stream. The same request again yields nothing; another one under the same id is refused."""
    if not operation.exists:
        return (requested,)
    if operation.parameters_digest == requested.parameters_digest:
        return ()
    raise RefusedError("an operation with this id exists already, with other parameters")


def decide_planning(operation: Operation) -> tuple[Event, ...]:
    """Staging begins."""
    return (PlanningStarted(),) if operation.status is Status.REQUESTED else ()


def decide_plan(operation: Operation, planned: OperationPlanned) -> tuple[Event, ...]:
    """The plan is complete: the first step starts, or, without items, the operation is complete at once."""
    if operation.status is not Status.PLANNING or operation.steps:
        return ()
    if planned.items == 0 or not planned.steps:
        return (planned, OperationCompleted(counts=Counts()))
    return (planned, StepStarted(step=planned.steps[0]))


def decide_step_completed(operation: Operation, step: str, counts: Counts) -> tuple[Event, ...]:
    """Every item of `step` has an outcome: the next step starts, or the operation is complete."""
    if operation.status is not Status.RUNNING or operation.step != step or step in operation.completed_steps:
        return ()
    completed = StepCompleted(step=step, counts=counts)
    following = operation.steps[operation.steps.index(step) + 1 :]
    if following:
        return (completed, StepStarted(step=following[0]))
    return (completed, OperationCompleted(counts=counts))


def decide_failed(operation: Operation, failed: OperationFailed) -> tuple[Event, ...]:
    """It can't go on. Where it has ended, or is being cancelled or rolled back, that goes first."""
    return (failed,) if operation.exists and may(operation.status, Status.FAILED) else ()


def decide_drained(operation: Operation) -> tuple[Event, ...]:
    """Nothing is in flight: a pause or a cancellation that was asked for takes effect."""
    match operation.status:
        case Status.PAUSING:
            return (OperationPaused(),)
        case Status.CANCELLING:
            return (OperationCancelled(),)
        case _:
            return ()


def decide_step_compensated(operation: Operation, step: str, conflicting: int) -> tuple[Event, ...]:
    """Every applied chunk of `step` is compensated; after the first step the rollback is at its end."""
    if operation.status is not Status.ROLLING_BACK or step not in steps_to_compensate(operation):
        return ()
    compensated = StepCompensated(step=step, conflicting=conflicting)
    after = evolve(operation, compensated)
    if steps_to_compensate(after):
        return (compensated,)
    return (compensated, *decide_rolled_back(after))


def decide_rolled_back(operation: Operation) -> tuple[Event, ...]:
    """The end of a rollback, when no step is to be compensated; `needs_attention` only where something was left."""
    if operation.status is not Status.ROLLING_BACK or steps_to_compensate(operation):
        return ()
    if operation.left:
        return (OperationNeedsAttention(items=operation.left),)
    return (OperationRolledBack(),)


def steps_to_compensate(operation: Operation) -> tuple[str, ...]:
    """Steps that may have applied chunks still to compensate, newest first."""
    begun = operation.completed_steps
    if operation.step and operation.step not in begun:
        begun = (*begun, operation.step)
    return tuple(step for step in reversed(begun) if step not in operation.compensated_steps)
