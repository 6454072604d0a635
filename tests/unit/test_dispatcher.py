"""The dispatcher: one group of the log's events, one transaction; whoever comes second has done nothing."""

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from memory import FakeClock, InMemoryDatabase, InMemoryStore, InMemoryWaker, work
from memory.store import LEDGER
from scenario import HISTORIES, ID, REQUESTED

from haulage.domain.chunk import ChunkApplied, ChunkCompensated
from haulage.domain.event import Context, Event, NewEvents, Recorded
from haulage.domain.identity import chunk_stream
from haulage.domain.operation import OperationFailed, OperationPausing, OperationResumed, OperationRollingBack
from haulage.domain.status import Status
from haulage.domain.work import Claim
from haulage.sagas.dispatcher import SUBSCRIPTION, Dispatcher

SESSION = UUID(int=99)
CONTEXT = Context(operation=ID, tenant="acme", kind="import-users", actor="ada")


class World:
    """A database with one operation in it, and what is at work on it."""

    def __init__(self) -> None:
        self.database = InMemoryDatabase(FakeClock())
        self.store = InMemoryStore(self.database, "control", {})
        self.waker = InMemoryWaker()
        self.dispatcher = self.dispatcher_on(self.store)

    def dispatcher_on(self, store: InMemoryStore) -> Dispatcher:
        return Dispatcher(store, self.waker, window=2)

    def happened(self, *events: Event, stream: UUID = ID) -> None:
        """These events are appended to the end of a stream, whoever did it."""
        with self.store.begin() as unit:
            unit.append([NewEvents(stream, len(self.store.stream(stream)), events, CONTEXT)])

    def applied(self, first: int, last: int) -> None:
        stream = chunk_stream(ID, "first", first, last)
        self.happened(ChunkApplied(step="first", first=first, last=last), stream=stream)

    def compensated(self, first: int, last: int) -> None:
        stream = chunk_stream(ID, "first", first, last)
        self.happened(ChunkCompensated(step="first", first=first, last=last), stream=stream)

    def ledger_catches_up(self) -> None:
        with self.store.begin() as unit:
            assert unit.advance(LEDGER, self.store.checkpoint(LEDGER), self.store.head())

    def claim(self, limit: int = 1) -> list[Claim]:
        return work.claim(self.database, SESSION, {"import-users/1"}, limit)

    def finish(self, claim: Claim) -> None:
        with self.store.begin() as unit:
            unit.finish(claim)

    def work(self) -> list[tuple[int, int]]:
        """The chunks in the work table."""
        return sorted((row.work.first, row.work.last) for row in self.database.tables["work"].values())

    def topics(self) -> list[str]:
        """What the operation's stream says."""
        return [recorded.event.topic for recorded in self.store.stream(ID)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def running(world: World) -> World:
    """An operation of ten items whose first two chunks of four are enqueued."""
    world.happened(*HISTORIES[Status.RUNNING])
    world.dispatcher.run_once()
    return world


class Meddling(InMemoryStore):
    """A store beside which something else happens, once, just after a given question was answered."""

    question = ""
    happens: Callable[[], object] | None = None

    def _meddle(self, question: str) -> None:
        if question == self.question and self.happens:
            happens, self.happens = self.happens, None
            happens()

    def events_after(self, position: int, limit: int) -> Sequence[Recorded]:
        answer = super().events_after(position, limit)
        self._meddle("events_after")
        return answer

    def due_dispatches(self) -> Sequence[object]:  # type: ignore[override]
        answer = super().due_dispatches()
        self._meddle("due_dispatches")
        return answer

    def in_flight(self, operations: Sequence[UUID]) -> dict[UUID, int]:
        answer = super().in_flight(operations)
        self._meddle("in_flight")
        return answer


def meddled(world: World, question: str, happens: Callable[[], object]) -> Dispatcher:
    """A dispatcher beside which `happens` once it has the answer to its question."""
    store = Meddling(world.database, "control-2", {})
    store.question, store.happens = question, happens
    return world.dispatcher_on(store)


def test_a_started_step_is_enqueued_and_workers_are_woken(world: World) -> None:
    world.happened(*HISTORIES[Status.RUNNING])

    assert world.dispatcher.run_once() == 4

    assert world.work() == [(1, 4), (5, 8)]
    assert world.waker.woken == ["work"]
    assert world.store.checkpoint(SUBSCRIPTION) == world.store.head()


def test_without_anything_new_nothing_is_done(running: World) -> None:
    before = dict(running.database.tables["checkpoints"])

    assert running.dispatcher.run_once() == 0
    assert running.database.tables["checkpoints"] == before


def test_what_is_decided_is_appended_and_followers_are_woken(running: World) -> None:
    for first, last in [(1, 4), (5, 8), (9, 10)]:
        running.applied(first, last)

    running.dispatcher.run_once()

    assert running.topics()[-2:] == ["operation.step_completed.v1", "operation.step_started.v1"]
    assert "log" in running.waker.woken


def test_two_that_read_the_same_events_count_them_once(running: World) -> None:
    running.applied(1, 4)

    meddled(running, "events_after", running.dispatcher.run_once).run_once()

    saved = running.store.dispatches([ID])[ID].state
    assert saved["counts"]["succeeded"] == 4
    assert saved["outstanding"] == 2


def test_two_that_look_again_at_the_same_rollback_do_it_one_after_the_other(running: World) -> None:
    running.applied(1, 4)
    running.applied(5, 8)
    for claim in running.claim(2):
        running.finish(claim)
    running.happened(OperationRollingBack())
    running.ledger_catches_up()
    running.dispatcher.run_once()

    def somebody_else_goes_on() -> None:
        running.dispatcher.run_once()
        running.compensated(5, 8)
        running.ledger_catches_up()

    meddled(running, "due_dispatches", somebody_else_goes_on).run_once()
    for _ in range(3):
        running.dispatcher.run_once()

    assert running.topics()[-1] == "operation.rolling_back.v1"

    running.compensated(1, 4)
    running.dispatcher.run_once()

    assert running.topics()[-2:] == ["operation.step_compensated.v1", "operation.rolled_back.v1"]


def test_a_pause_does_not_take_effect_while_somebody_claims(running: World) -> None:
    running.happened(OperationPausing())
    claims: list[Claim] = []

    meddled(running, "in_flight", lambda: claims.extend(running.claim())).run_once()
    running.dispatcher.run_once()

    assert len(claims) == 1
    assert running.topics()[-1] == "operation.pausing.v1"

    running.finish(claims[0])
    running.dispatcher.run_once()

    assert running.topics()[-1] == "operation.paused.v1"


def test_held_work_is_released_when_a_person_resumes(running: World) -> None:
    running.happened(OperationPausing())
    running.dispatcher.run_once()
    assert running.claim() == []

    running.happened(OperationResumed())
    running.dispatcher.run_once()

    assert len(running.claim()) == 1


def test_a_decision_that_comes_too_late_is_made_again_with_the_newer_event(running: World) -> None:
    for first, last in [(1, 4), (5, 8), (9, 10)]:
        running.applied(first, last)

    # Between reading the events and appending what was decided, a person pauses.
    meddled(running, "events_after", lambda: running.happened(OperationPausing())).run_once()

    assert running.topics()[-1] == "operation.pausing.v1"
    assert [saved.operation for saved in running.store.due_dispatches()] == [ID]

    for _ in range(2):
        running.dispatcher.run_once()
    running.happened(OperationResumed())
    running.dispatcher.run_once()

    assert running.topics()[-2:] == ["operation.step_completed.v1", "operation.step_started.v1"]


def test_a_finished_operation_is_forgotten(world: World) -> None:
    world.happened(*HISTORIES[Status.COMPLETED])

    world.dispatcher.run_once()

    assert world.store.dispatches([ID]) == {}


def test_what_was_given_back_after_a_failure_is_withdrawn(running: World) -> None:
    (claim,) = running.claim()
    running.happened(OperationFailed(code="refused", message="The organization is gone."))
    running.dispatcher.run_once()
    with running.store.begin() as unit:
        unit.retry(claim, 1.0, 2, 0)

    running.dispatcher.run_once()
    running.dispatcher.run_once()

    assert running.work() == []
    assert running.store.dispatches([ID]) == {}


def test_the_last_sign_of_a_forgotten_operation_brings_no_memory_back(world: World) -> None:
    world.happened(*HISTORIES[Status.CANCELLED])
    world.dispatcher.run_once()
    world.applied(1, 4)

    assert world.dispatcher.run_once() == 1

    assert world.store.dispatches([ID]) == {}
    assert world.store.checkpoint(SUBSCRIPTION) == world.store.head()


def test_a_group_is_cut_where_a_transaction_ends(world: World) -> None:
    small = Dispatcher(world.store, world.waker, window=2, group=1)
    world.happened(*HISTORIES[Status.RUNNING])
    world.happened(OperationPausing())

    assert small.run_once() == 4
    assert small.run_once() == 1


def test_an_operation_somebody_only_asked_for_is_remembered(world: World) -> None:
    world.happened(REQUESTED)

    world.dispatcher.run_once()

    assert list(world.store.dispatches([ID])) == [ID]
