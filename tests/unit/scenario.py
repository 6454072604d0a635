"""given(history).when(command).then(events): how the tests of decisions read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import pytest

from haulage.domain import operation as aggregate
from haulage.domain.commands import Command
from haulage.domain.errors import RefusedError
from haulage.domain.event import Event
from haulage.domain.items import Counts
from haulage.domain.operation import (
    Operation,
    OperationCancelled,
    OperationCancelling,
    OperationClosed,
    OperationCompleted,
    OperationFailed,
    OperationNeedsAttention,
    OperationPaused,
    OperationPausing,
    OperationPlanned,
    OperationRequested,
    OperationRolledBack,
    OperationRollingBack,
    PlanningStarted,
    StepCompensated,
    StepCompleted,
    StepStarted,
)
from haulage.domain.status import Status

ID = UUID(int=1)

REQUESTED = OperationRequested(definition_version=1, parameters_digest="d1")
PLANNED = OperationPlanned(items=10, blocks=1, manifest_digest="m1", steps=("first", "second"), chunk_items=4)
ALL_WELL = Counts(succeeded=10)
SOME_REJECTED = Counts(succeeded=8, rejected=2)

_RUNNING: tuple[Event, ...] = (REQUESTED, PlanningStarted(), PLANNED, StepStarted(step="first"))
_LAST_STEP: tuple[Event, ...] = (*_RUNNING, StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second"))
_ROLLING_BACK: tuple[Event, ...] = (*_RUNNING, OperationRollingBack())

HISTORIES: dict[Status, tuple[Event, ...]] = {
    Status.REQUESTED: (REQUESTED,),
    Status.PLANNING: (REQUESTED, PlanningStarted()),
    Status.RUNNING: _RUNNING,
    Status.PAUSING: (*_RUNNING, OperationPausing()),
    Status.PAUSED: (*_RUNNING, OperationPausing(), OperationPaused()),
    Status.CANCELLING: (*_RUNNING, OperationCancelling()),
    Status.CANCELLED: (*_RUNNING, OperationCancelling(), OperationCancelled()),
    Status.ROLLING_BACK: _ROLLING_BACK,
    Status.ROLLED_BACK: (*_ROLLING_BACK, StepCompensated(step="first"), OperationRolledBack()),
    Status.NEEDS_ATTENTION: (
        *_ROLLING_BACK,
        StepCompensated(step="first", conflicting=3),
        OperationNeedsAttention(items=3),
    ),
    Status.CLOSED: (
        *_ROLLING_BACK,
        StepCompensated(step="first", conflicting=3),
        OperationNeedsAttention(items=3),
        OperationClosed(reason="seen to"),
    ),
    Status.COMPLETED: (
        *_LAST_STEP,
        StepCompleted(step="second", counts=ALL_WELL),
        OperationCompleted(counts=ALL_WELL),
    ),
    Status.COMPLETED_WITH_REJECTS: (
        *_LAST_STEP,
        StepCompleted(step="second", counts=SOME_REJECTED),
        OperationCompleted(counts=SOME_REJECTED),
    ),
    Status.FAILED: (*_RUNNING, OperationFailed(code="refused", message="The organization is gone.", step="first")),
}
"""One history that leads to each status. `waiting` has none yet: no step of today waits."""

WAITING = aggregate.fold(_RUNNING).model_copy(update={"status": Status.WAITING})


def operation_in(status: Status) -> Operation:
    """An operation that stands where `status` says."""
    return WAITING if status is Status.WAITING else aggregate.fold(HISTORIES[status])


@dataclass(frozen=True, slots=True)
class Scenario:
    """An operation, and what is asked of it."""

    operation: Operation
    decide: Callable[[Operation], tuple[Event, ...]] = lambda _: ()

    def when(self, command: Command) -> Self:
        """A person asks."""
        return type(self)(self.operation, lambda operation: aggregate.decide(operation, command))

    def when_engine(self, decide: Callable[..., tuple[Event, ...]], *found: Any) -> Self:
        """The engine found something out: `decide(operation, *found)`."""
        return type(self)(self.operation, lambda operation: decide(operation, *found))

    def then(self, *expected: Event) -> None:
        """These events follow; and once they have happened, asking again leads to nothing more."""
        events = self.decide(self.operation)
        assert events == expected
        assert self.decide(aggregate.fold(events, self.operation)) == ()

    def then_nothing(self) -> None:
        """It has had its effect already, or there is none to have."""
        assert self.decide(self.operation) == ()

    def then_refused(self, sentence: str) -> None:
        """There is no place for it, and the person is told why."""
        with pytest.raises(RefusedError, match=sentence):
            self.decide(self.operation)


def given(history: Status | tuple[Event, ...]) -> Scenario:
    """An operation with this history, or any that stands at this status."""
    if isinstance(history, Status):
        return Scenario(operation_in(history))
    return Scenario(aggregate.fold(history))
