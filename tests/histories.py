"""Histories of operations for tests of the views: told event by event, or made up at random but legal.

told = Told()
it = told.operation(*STARTED)             # an operation and its first events
told.that(it, applied(1, 10), after=0.5)  # half a second later
told.recorded                             # as the log would hold them
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from haulage.domain import operation as aggregate
from haulage.domain.chunk import (
    ChunkApplied,
    ChunkAttemptFailed,
    ChunkCompensated,
    ChunkEvent,
    ChunkSplit,
)
from haulage.domain.event import Context, Event, NewEvents, Recorded
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Outcome, OutcomeKind, Run, compact, count
from haulage.domain.operation import (
    OperationCancelling,
    OperationClosed,
    OperationFailed,
    OperationPausing,
    OperationPlanned,
    OperationRequested,
    OperationResumed,
    OperationRollingBack,
    PlanningStarted,
    StepStarted,
)
from haulage.domain.status import Status

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)

REQUESTED = OperationRequested(definition_version=1, parameters_digest="d1")


def planned(items: int = 100, chunk_items: int = 10, steps: tuple[str, ...] = ("import",)) -> OperationPlanned:
    return OperationPlanned(items=items, blocks=1, manifest_digest="m1", steps=steps, chunk_items=chunk_items)


STARTED: tuple[Event, ...] = (REQUESTED, PlanningStarted(), planned(), StepStarted(step="import"))
"""A hundred items in chunks of ten, one step, under way."""


def applied(first: int, last: int, *exceptions: Outcome, step: str = "import") -> ChunkApplied:
    return ChunkApplied(step=step, first=first, last=last, exceptions=compact(exceptions))


def failed(first: int, last: int, attempt: int = 1, error: str = "TimeoutError", step: str = "import") -> Event:
    return ChunkAttemptFailed(step=step, first=first, last=last, attempt=attempt, error=error, due_at=START)


def compensated(first: int, last: int, *conflicting: Outcome, step: str = "import") -> ChunkCompensated:
    return ChunkCompensated(step=step, first=first, last=last, conflicting=compact(conflicting))


def rejected(ordinal: int, code: str = "email_taken") -> Outcome:
    return Outcome(ordinal, OutcomeKind.REJECTED, code, "email")


def skipped(ordinal: int) -> Outcome:
    return Outcome(ordinal, OutcomeKind.SKIPPED, "exists")


@dataclass
class Told:
    """Events in the order they were told; time moves only by `after`."""

    recorded: list[Recorded] = field(default_factory=list)
    now: datetime = START
    versions: dict[UUID, int] = field(default_factory=dict)
    contexts: dict[UUID, Context] = field(default_factory=dict)

    def operation(self, *events: Event, tenant: str = "default", kind: str = "import-users") -> UUID:
        """A new operation."""
        operation = UUID(int=len(self.contexts) + 1)
        self.contexts[operation] = Context(operation, tenant, kind, "alice")
        self.that(operation, *events)
        return operation

    def that(self, operation: UUID, *events: Event, after: float = 0.0) -> None:
        """More events of an operation, together, `after` so many seconds."""
        self.now += timedelta(seconds=after)
        for event in events:
            stream = operation
            if isinstance(event, ChunkEvent):
                stream = chunk_stream(operation, event.step, event.first, event.last)
            version = self.versions[stream] = self.versions.get(stream, 0) + 1
            position = (len(self.recorded) + 1) << 10
            id = UUID(int=position)
            context = self.contexts[operation]
            self.recorded.append(Recorded(stream, version, position, self.now, id, context, event))


def new_events(recorded: Recorded) -> NewEvents:
    """The append that leads to `recorded`."""
    return NewEvents(recorded.stream, recorded.version - 1, (recorded.event,), recorded.context)


# -- made up at random -------------------------------------------------------------------------------------------------
def made_up(random: Random, operations: int = 3) -> Told:
    """Legal histories of several operations, interleaved: with rejects, retries, splits, pauses, rollbacks."""
    told = Told()
    lives = [Life(told, random) for _ in range(random.randint(1, operations))]
    while lives:
        life = random.choice(lives)
        if not life.go_on():
            lives.remove(life)
    return told


class Life:
    """One operation that does something legal each time it is asked to go on."""

    def __init__(self, told: Told, random: Random) -> None:
        self._told, self._random = told, random
        self._id = told.operation(REQUESTED)
        self._state = aggregate.fold([REQUESTED])
        self._todo: list[Run] = []
        self._done: list[tuple[str, Run]] = []
        self._conflicting: dict[str, int] = {}
        self._exceptions: list[Outcome] = []

    def go_on(self) -> bool:
        """Do something; whether there may be more to come."""
        match self._state.status:
            case Status.REQUESTED:
                self._tell(PlanningStarted())
            case Status.PLANNING:
                self._plan()
            case Status.RUNNING:
                self._interrupt() if self._random.random() < 0.06 else self._work()
            case Status.PAUSING | Status.CANCELLING:
                self._tell(*aggregate.decide_drained(self._state))
            case Status.PAUSED:
                self._tell(self._random.choice([OperationResumed(), OperationResumed(), OperationRollingBack()]))
            case Status.ROLLING_BACK:
                self._undo()
            case Status.NEEDS_ATTENTION:
                self._tell(OperationClosed(reason="seen to"))
            case _:
                return False
        return True

    def _tell(self, *events: Event) -> None:
        # Clocks of sessions differ a little: times do not always follow the order of the log.
        self._told.that(self._id, *events, after=self._random.choice([0.0, 0.01, 0.3, 2.0, -0.02]))
        self._state = aggregate.fold((e for e in events if not isinstance(e, ChunkEvent)), self._state)

    def _plan(self) -> None:
        items = self._random.choice([0, 1, 5, 40])
        plan = planned(items, self._random.choice([1, 4, 7]), ("first", "second")[: self._random.randint(1, 2)])
        self._tell(*aggregate.decide_plan(self._state, plan))
        self._lay_out()

    def _lay_out(self) -> None:
        size, items = self._state.chunk_items, self._state.items
        self._todo = [(first, min(first + size - 1, items)) for first in range(1, items + 1, size)]

    def _interrupt(self) -> None:
        self._tell(
            self._random.choice(
                [
                    OperationPausing(reason="lunch"),
                    OperationPausing(),
                    OperationCancelling(),
                    OperationRollingBack(reason="wrong file"),
                    OperationFailed(code="poison", message="A step can't go on.", step=self._state.step),
                ]
            )
        )

    def _work(self) -> None:
        step = self._state.step
        assert step is not None
        if not self._todo:
            last_item = self._state.items
            counts = count(1, last_item, compact(self._exceptions))
            self._exceptions = []
            self._tell(*aggregate.decide_step_completed(self._state, step, counts))
            self._lay_out()
            return
        first, last = self._todo.pop(self._random.randrange(len(self._todo)))
        if self._random.random() < 0.2:
            self._fail(step, first, last)
            return
        exceptions = [
            make(ordinal)
            for ordinal in range(first, last + 1)
            if (make := self._random.choice([None, None, None, rejected, skipped]))
        ]
        self._exceptions += exceptions
        self._done.append((step, (first, last)))
        self._tell(applied(first, last, *exceptions, step=step))

    def _fail(self, step: str, first: int, last: int) -> None:
        self._tell(failed(first, last, step=step))
        if first < last and self._random.random() < 0.5:
            middle = (first + last) // 2
            self._tell(ChunkSplit(step=step, first=first, last=last, middle=middle, error="TimeoutError"))
            self._todo += [(first, middle), (middle + 1, last)]
        else:
            self._todo.append((first, last))

    def _undo(self) -> None:
        steps = aggregate.steps_to_compensate(self._state)
        if not steps:
            self._tell(*aggregate.decide_rolled_back(self._state))
            return
        left = [done for done in self._done if done[0] == steps[0]]
        if not left:
            conflicting = self._conflicting.pop(steps[0], 0)
            self._tell(*aggregate.decide_step_compensated(self._state, steps[0], conflicting))
            return
        self._done.remove(left[-1])
        step, (first, last) = left[-1]
        conflict = [Outcome(first, OutcomeKind.SKIPPED, "changed_since")] if self._random.random() < 0.3 else []
        self._conflicting[step] = self._conflicting.get(step, 0) + len(conflict)
        self._tell(compensated(first, last, *conflict, step=step))
