"""The dispatcher: runs the process manager over the log, a group of events at a time.

Crash story. Everything is read first; then one transaction counts the turn, moves the checkpoint from where it was
read, saves what is remembered of each operation, enqueues work and appends what was decided.
1. Died before the commit: the same events are read again, and the same is decided.
2. Somebody else was faster: the turn is not ours, nothing is committed. The checkpoint alone could not tell, since it
   stays where it is when operations are looked at again without a new event.
3. A decision meets a conflict (a person paused the operation meanwhile): the group is committed without the decided
   events, and each operation they were for is marked due, to be decided again when the newer event is visible.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from haulage.domain.errors import ConflictError, LateAppendError
from haulage.domain.event import NewEvents, Recorded
from haulage.domain.operation import OperationRequested
from haulage.domain.ports import SavedDispatch, Store, Unit, Waker
from haulage.domain.status import Status
from haulage.sagas.process_manager import (
    Ask,
    AskApplied,
    AskInFlight,
    Decision,
    Dispatch,
    Found,
    asks,
    begin,
    decide,
    drops,
    evolve,
)

SUBSCRIPTION = "process-manager"

TURNS = "process-manager/turns"
"""The checkpoint that counts the groups handled by anybody."""

LOOKED_AT = frozenset({Status.PAUSING, Status.CANCELLING, Status.ROLLING_BACK, Status.FAILED})
"""Statuses in which what comes next depends on more than events: such an operation is looked at again and again."""


class Dispatcher:
    """`run_once` handles one group of events. Any number may run; one at a time gets anywhere."""

    def __init__(self, store: Store, waker: Waker, *, window: int = 32, group: int = 2000) -> None:
        self._store = store
        self._waker = waker
        self._window = window
        self._group = group

    def run_once(self) -> int:
        """Handle what is new; how many events that were, or how many operations were decided anew."""
        turn = self._store.checkpoint(TURNS)
        before = self._store.checkpoint(SUBSCRIPTION)
        events = self._store.events_after(before, self._group)
        dispatches = self._fold(events)
        if not events and not dispatches:
            return 0
        if self._store.checkpoint(TURNS) != turn:
            # What was read does not belong together: nothing sensible can be decided on it.
            return 1
        after = events[-1].position if events else before
        decisions = self._decide(dispatches)
        try:
            done = self._commit(turn, before, after, decisions, with_events=True)
        except (ConflictError, LateAppendError):
            done = self._commit(turn, before, after, decisions, with_events=False)
        if done:
            self._wake(decisions)
        return len(events) if events else sum(_changes(decision) for decision in decisions)

    def _fold(self, events: Sequence[Recorded]) -> dict[UUID, Dispatch]:
        saved = {s.operation: s for s in self._store.due_dispatches()}
        saved |= self._store.dispatches(list({event.context.operation for event in events} - set(saved)))
        dispatches = {operation: Dispatch.model_validate(s.state) for operation, s in saved.items()}
        for event in events:
            operation = event.context.operation
            if isinstance(event.event, OperationRequested):
                dispatches[operation] = begin(event)
            # One that is forgotten has ended; the last of what was in flight may still be heard of.
            if operation in dispatches:
                dispatches[operation] = evolve(dispatches[operation], event)
        return dispatches

    def _decide(self, dispatches: Mapping[UUID, Dispatch]) -> list[Decision]:
        asked = {operation: asks(dispatch, self._window) for operation, dispatch in dispatches.items()}
        found = self._find(asked)
        return [decide(d, self._window, found.get(operation)) for operation, d in dispatches.items()]

    def _find(self, asked: Mapping[UUID, Ask | None]) -> dict[UUID, Found]:
        draining = [operation for operation, ask in asked.items() if isinstance(ask, AskInFlight)]
        in_flight = self._store.in_flight(draining) if draining else {}
        head = self._store.head() if draining else None
        found = {operation: Found(in_flight=claimed, head=head) for operation, claimed in in_flight.items()}
        for operation, ask in asked.items():
            if isinstance(ask, AskApplied):
                applied = self._store.applied_chunks(operation, ask.step, ask.before, ask.limit, ask.complete_to)
                found[operation] = Found(applied=applied)
        return found

    def _commit(self, turn: int, before: int, after: int, decisions: Sequence[Decision], *, with_events: bool) -> bool:
        with self._store.begin() as unit:
            if not unit.advance(TURNS, turn, turn + 1):
                return False
            unit.advance(SUBSCRIPTION, before, after)
            _save(unit, decisions, with_events=with_events)
            unit.withdraw(_operations(d for d in decisions if d.withdraw))
            unit.set_held(_operations(d for d in decisions if d.hold), True)
            unit.set_held(_operations(d for d in decisions if d.release), False)
            unit.enqueue([work for decision in decisions for work in decision.work])
            if with_events:
                unit.append([_new_events(decision.dispatch, decision) for decision in decisions if decision.events])
        return True

    def _wake(self, decisions: Iterable[Decision]) -> None:
        if any(decision.work for decision in decisions):
            self._waker.wake("work")
        if any(decision.events for decision in decisions):
            self._waker.wake("log")


def _save(unit: Unit, decisions: Sequence[Decision], *, with_events: bool) -> None:
    kept = [decision.dispatch for decision in decisions if not drops(decision.dispatch)]
    undecided = {d.dispatch.operation_id for d in decisions if d.events and not with_events}
    unit.save_dispatches([_saved(d, d.operation_id in undecided) for d in kept])
    unit.drop_dispatches(_operations(decision for decision in decisions if drops(decision.dispatch)))


def _saved(dispatch: Dispatch, undecided: bool) -> SavedDispatch:
    due = undecided or dispatch.operation.status in LOOKED_AT
    return SavedDispatch(dispatch.operation_id, dispatch.model_dump(mode="json"), due)


def _new_events(dispatch: Dispatch, decision: Decision) -> NewEvents:
    return NewEvents(dispatch.operation_id, dispatch.operation.version, decision.events, dispatch.context)


def _operations(decisions: Iterable[Decision]) -> list[UUID]:
    return [decision.dispatch.operation_id for decision in decisions]


def _changes(decision: Decision) -> bool:
    return bool(decision.events or decision.work)
