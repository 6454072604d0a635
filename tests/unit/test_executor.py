"""The executor: a chunk's effect and everything that records it, in one transaction or not at all."""

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from memory import FakeClock, InMemoryDatabase, InMemoryDirectory, InMemoryStore, InMemoryUnit, work
from memory.database import Transaction
from memory.directory import CHANGED, CLOSED, OWNERS
from simulation.definition import definitions

from haulage.domain.chunk import ChunkApplied, ChunkAttemptFailed, ChunkCompensated, ChunkSplit
from haulage.domain.errors import FencedError, LateAppendError, NoRoomError, NotReachableError
from haulage.domain.event import Context, Event, NewEvents
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Outcome, OutcomeKind, each
from haulage.domain.operation import (
    OperationCancelled,
    OperationCancelling,
    OperationCompleted,
    OperationFailed,
    OperationPausing,
    OperationPlanned,
    OperationRequested,
    OperationResumed,
    OperationRollingBack,
    PlanningStarted,
    StepCompleted,
    StepStarted,
)
from haulage.domain.ports import Request
from haulage.domain.work import Claim, Task, Work
from haulage.sagas.executor import Executor

ID = UUID(int=1)
ME, ANOTHER = UUID(int=11), UUID(int=12)
CONTEXT = Context(operation=ID, tenant="acme", kind="register", actor="ada")
ATTEMPTS = 2
REJECTED, SKIPPED = OutcomeKind.REJECTED, OutcomeKind.SKIPPED


class Trouble:
    """A directory that raises what it is told to, a number of times, before anything is added or removed."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.asked: list[str] = []

    def directory(self, transaction: Transaction) -> InMemoryDirectory:
        trouble = self

        class Troubled(InMemoryDirectory):
            def check_open(self, organization: str) -> None:
                super().check_open(organization)
                trouble.come("apply")

            def remove(self, step: str, names: object) -> list[int]:
                trouble.come("compensate")
                return super().remove(step, names)  # type: ignore[arg-type]

        return Troubled(transaction)

    def come(self, asked: str) -> None:
        self.asked.append(asked)
        if self.errors:
            raise self.errors.pop(0)


class World:
    """A database with one operation in its first step, and an executor."""

    def __init__(self, names: Sequence[str]) -> None:
        self.clock = FakeClock()
        self.database = InMemoryDatabase(self.clock)
        self.trouble = Trouble()
        self.store = InMemoryStore(self.database, "worker", {"directory": self.trouble.directory})
        self.definitions = definitions(4, ATTEMPTS)
        self.executor = self.executor_on(self.store)
        self.database.tables["manifest"][ID] = list(names)
        planned = OperationPlanned(items=len(names), blocks=1, manifest_digest="", steps=("here",), chunk_items=4)
        request = Request(ID, "acme", "register", 1, "ada", {"organization": "acme"}, None, None, b"")
        with self.store.begin() as unit:
            unit.add_requests([request])
        self.happened(
            OperationRequested(definition_version=1, parameters_digest=""),
            PlanningStarted(),
            planned,
            StepStarted(step="here"),
        )

    def executor_on(self, store: InMemoryStore) -> Executor:
        return Executor(store, self.definitions, now=self.clock.now, chance=lambda: 1.0)

    def happened(self, *events: Event, stream: UUID = ID) -> None:
        with self.store.begin() as unit:
            unit.append([NewEvents(stream, len(self.store.stream(stream)), events, CONTEXT)])

    def enqueued(self, first: int, last: int, task: Task = Task.APPLY) -> None:
        with self.store.begin() as unit:
            unit.enqueue([Work(ID, "acme", "register", 1, task, "here", first, last)])

    def claim(self, session: UUID = ME) -> Claim:
        (claim,) = work.claim(self.database, session, {"register/1"}, 1)
        return claim

    def claimed(self, first: int, last: int, task: Task = Task.APPLY) -> Claim:
        self.enqueued(first, last, task)
        return self.claim()

    def taken_over(self, claim: Claim) -> Claim:
        """Another session gets what this one had claimed."""
        transaction = self.database.begin("reaper")
        work.give_back(transaction, claim.session)
        transaction.commit()
        return self.claim(ANOTHER)

    # -- what is left
    def chunk(self, first: int, last: int) -> list[Event]:
        return [recorded.event for recorded in self.store.stream(chunk_stream(ID, "here", first, last))]

    def told(self, first: int, last: int) -> list[str]:
        """What happened to the chunk, in a word each."""
        return [event.topic.split(".")[1] for event in self.chunk(first, last)]

    def outcomes(self, first: int, last: int) -> list[Outcome]:
        """The exceptions of an applied chunk."""
        applied = self.chunk(first, last)[-1]
        assert isinstance(applied, ChunkApplied)
        return list(each(applied.exceptions))

    def operation(self) -> list[Event]:
        """What the operation's stream says after the start of its step."""
        return [recorded.event for recorded in self.store.stream(ID)][4:]

    def names(self) -> list[str]:
        return sorted(name for _, name in self.database.tables[OWNERS])

    def work(self) -> list[tuple[int, int]]:
        return sorted((row.work.first, row.work.last) for row in self.database.tables["work"].values())


@pytest.fixture
def world() -> World:
    return World(["ann", "bob", "", "dan", "eve", "ann", "poison", "hal"])


# -- applying ----------------------------------------------------------------------------------------------------------
def test_effect_event_and_the_end_of_the_claim_are_one_commit(world: World) -> None:
    transactions: list[Transaction] = []
    claim = world.claimed(1, 4)
    world.database.observers.append(transactions.append)

    world.executor.apply(claim)

    assert len(transactions) == 1
    assert world.names() == ["ann", "bob", "dan"]
    assert world.outcomes(1, 4) == [Outcome(3, REJECTED, "empty")]
    assert world.work() == []


def test_undo_records_are_kept_with_the_effect(world: World) -> None:
    world.executor.apply(world.claimed(1, 2))

    with world.store.begin() as unit:
        kept = unit.load_undo(ID, "here", (1, 2))
    (applied,) = world.chunk(1, 2)

    assert [(record.ordinal, record.before) for record in kept] == [(1, {"name": "ann"}), (2, {"name": "bob"})]
    assert isinstance(applied, ChunkApplied)
    assert applied.undo_digest is not None


def test_a_refused_item_never_costs_its_neighbours(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    world.executor.apply(world.claimed(5, 6))

    assert world.outcomes(5, 6) == [Outcome(6, REJECTED, "taken")]
    assert world.names() == ["ann", "bob", "dan", "eve"]


def test_after_a_refusal_chunks_begin_carefully_until_one_is_clean(world: World) -> None:
    world.executor.apply(world.claimed(1, 1))

    asked = []
    for first, last in [(6, 6), (2, 2), (4, 4)]:
        world.trouble.asked.clear()
        world.executor.apply(world.claimed(first, last))
        asked.append(len(world.trouble.asked))

    # The first is refused and comes again; the second begins carefully and turns out clean; so does the third, fast.
    assert asked == [2, 1, 1]


def test_a_chunk_that_is_a_whole_step_completes_it_in_the_same_commit() -> None:
    world = World(["ann", "bob"])
    transactions: list[Transaction] = []
    claim = world.claimed(1, 2)
    world.database.observers.append(transactions.append)

    world.executor.apply(claim)

    assert len(transactions) == 1
    assert [type(event) for event in world.operation()] == [StepCompleted, OperationCompleted]


def test_a_chunk_that_is_part_of_a_step_leaves_its_end_to_others(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))

    assert world.operation() == []


# -- conflicts ---------------------------------------------------------------------------------------------------------
class Interrupted(InMemoryStore):
    """A store beside which something happens, once, just before a transaction begins."""

    happens: Callable[[], object] | None = None

    def begin(self):  # type: ignore[no-untyped-def]
        if self.happens:
            happens, self.happens = self.happens, None
            happens()
        return super().begin()


def interrupted(world: World, happens: Callable[[], object]) -> Executor:
    """An executor that something overtakes just before its first transaction."""
    store = Interrupted(world.database, "worker-2", {"directory": world.trouble.directory})
    store.happens = happens
    return world.executor_on(store)


def test_a_whole_step_that_a_pause_overtakes_is_applied_later_without_the_end() -> None:
    world = World(["ann", "bob"])

    interrupted(world, lambda: world.happened(OperationPausing())).apply(world.claimed(1, 2))

    assert world.names() == []
    assert world.work() == [(1, 2)]

    world.executor.apply(world.claim())

    assert world.names() == ["ann", "bob"]
    assert world.operation() == [OperationPausing()]


def test_work_that_was_done_already_is_only_removed(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))

    world.executor.apply(world.claimed(1, 4))

    assert len(world.chunk(1, 4)) == 1
    assert world.work() == []


@pytest.mark.parametrize("error", [OSError("broken"), NotReachableError("away")], ids=["action", "connection"])
def test_work_that_was_done_already_is_only_removed_even_if_the_attempt_fails(world: World, error: Exception) -> None:
    world.executor.apply(world.claimed(1, 4))
    claim = world.claimed(1, 4)
    world.trouble.errors = [error]

    if isinstance(error, NotReachableError):
        with pytest.raises(NotReachableError):
            world.executor.apply(claim)
    world.executor.apply(claim)

    assert world.told(1, 4) == ["applied"]
    assert world.work() == []


def test_work_that_was_split_meanwhile_is_only_removed(world: World) -> None:
    split = ChunkSplit(step="here", first=1, last=4, middle=2, error="OSError")
    world.happened(split, stream=chunk_stream(ID, "here", 1, 4))

    world.executor.apply(world.claimed(1, 4))

    assert world.chunk(1, 4) == [split]
    assert world.names() == []
    assert world.work() == []


# -- ownership ---------------------------------------------------------------------------------------------------------
def test_a_worker_whose_claim_was_handed_on_is_refused_and_changes_nothing(world: World) -> None:
    old = world.claimed(1, 4)
    new = world.taken_over(old)

    with pytest.raises(FencedError):
        world.executor.apply(old)

    assert world.names() == []
    world.executor.apply(new)
    assert world.names() == ["ann", "bob", "dan"]


def test_a_worker_whose_claim_was_handed_on_can_neither_fail_nor_compensate_it(world: World) -> None:
    old = world.claimed(1, 4)
    new = world.taken_over(old)
    world.trouble.errors = [OSError("broken")]
    with pytest.raises(FencedError):
        world.executor.apply(old)
    world.trouble.errors.clear()
    world.executor.apply(new)

    undo = world.claimed(1, 4, Task.COMPENSATE)
    world.taken_over(undo)
    with pytest.raises(FencedError):
        world.executor.compensate(undo)

    assert world.told(1, 4) == ["applied"]


# -- failed attempts ---------------------------------------------------------------------------------------------------
def test_a_failed_attempt_is_an_event_with_the_time_of_the_next(world: World) -> None:
    world.trouble.errors = [OSError("broken")]
    due_at = world.clock.in_seconds(0.5)

    world.executor.apply(world.claimed(1, 4))

    assert world.chunk(1, 4) == [
        ChunkAttemptFailed(step="here", first=1, last=4, attempt=1, error="OSError", due_at=due_at)
    ]
    assert work.claim(world.database, ME, {"register/1"}, 1) == []

    world.clock.advance(0.5)
    world.executor.apply(world.claim())

    assert world.told(1, 4) == ["attempt_failed", "applied"]
    assert world.names() == ["ann", "bob", "dan"]


@pytest.mark.parametrize("error", [NotReachableError("away"), NoRoomError("full")], ids=lambda e: type(e).__name__)
def test_what_is_not_the_chunks_fault_costs_no_attempt_and_keeps_the_claim(world: World, error: Exception) -> None:
    claim = world.claimed(1, 4)
    world.trouble.errors = [error]

    with pytest.raises(type(error)):
        world.executor.apply(claim)
    assert world.chunk(1, 4) == []

    world.executor.apply(claim)

    assert world.told(1, 4) == ["applied"]


def test_an_append_that_came_too_late_costs_no_attempt(world: World) -> None:
    world.trouble.errors = [LateAppendError("too late")]

    world.executor.apply(world.claimed(1, 4))

    assert world.chunk(1, 4) == []
    assert world.claim().work.attempt == 1


def test_a_chunk_that_fails_too_often_is_split_in_half(world: World) -> None:
    world.trouble.errors = [OSError("broken")] * ATTEMPTS
    world.executor.apply(world.claimed(1, 4))
    world.clock.advance(10)

    world.executor.apply(world.claim())

    assert world.told(1, 4) == ["attempt_failed", "attempt_failed", "split"]
    assert world.work() == [(1, 2), (3, 4)]
    assert world.claim().work.attempt == 1


def test_a_poison_item_ends_alone_and_rejected_and_its_neighbours_succeed(world: World) -> None:
    world.database.tables["manifest"][ID] = ["ann", "poison", "cat", "dan"]
    world.enqueued(1, 4)

    while world.work():
        world.clock.advance(10)
        world.executor.apply(world.claim())

    assert world.names() == ["ann", "cat", "dan"]
    assert world.outcomes(2, 2) == [Outcome(2, REJECTED, "failed_ValueError")]


# -- what every chunk would meet ---------------------------------------------------------------------------------------
def test_what_every_chunk_would_meet_ends_the_operation(world: World) -> None:
    world.database.tables[CLOSED]["acme"] = True

    world.executor.apply(world.claimed(1, 4))

    (failed,) = world.operation()
    assert isinstance(failed, OperationFailed)
    assert failed.message == "there is no organization `acme`"
    assert failed.step == "here"
    assert world.work() == []


def test_while_a_pause_is_asked_for_the_chunk_is_kept_for_later(world: World) -> None:
    world.happened(OperationPausing())
    world.database.tables[CLOSED]["acme"] = True

    world.executor.apply(world.claimed(1, 4))

    assert world.operation() == [OperationPausing()]
    assert world.work() == [(1, 4)]

    world.happened(OperationResumed())
    world.clock.advance(10)
    world.executor.apply(world.claim())

    assert isinstance(world.operation()[-1], OperationFailed)


@pytest.mark.parametrize(
    "over",
    [(OperationCancelling(),), (OperationCancelling(), OperationCancelled()), (OperationRollingBack(),)],
    ids=["cancelling", "cancelled", "rolling back"],
)
def test_where_nothing_is_to_be_applied_any_more_the_chunk_is_dropped(world: World, over: tuple[Event, ...]) -> None:
    world.happened(*over)
    world.database.tables[CLOSED]["acme"] = True

    world.executor.apply(world.claimed(1, 4))

    assert world.operation() == list(over)
    assert world.work() == []


# -- compensating ------------------------------------------------------------------------------------------------------
def test_a_compensation_removes_exactly_what_was_added(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    world.executor.apply(world.claimed(5, 6))

    world.executor.compensate(world.claimed(5, 6, Task.COMPENSATE))

    assert world.names() == ["ann", "bob", "dan"]
    assert world.chunk(5, 6)[-1] == ChunkCompensated(step="here", first=5, last=6)
    assert world.work() == []


def test_what_has_changed_since_is_left_and_told(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    world.database.tables[CHANGED]["bob"] = True

    world.executor.compensate(world.claimed(1, 4, Task.COMPENSATE))

    compensated = world.chunk(1, 4)[-1]
    assert isinstance(compensated, ChunkCompensated)
    assert list(each(compensated.conflicting)) == [Outcome(2, SKIPPED, "changed")]
    assert world.names() == ["bob"]


@pytest.mark.parametrize("done_before", [False, True], ids=["never applied", "compensated before"])
def test_where_there_is_nothing_to_compensate_the_work_is_only_removed(world: World, done_before: bool) -> None:
    if done_before:
        world.executor.apply(world.claimed(1, 4))
        world.executor.compensate(world.claimed(1, 4, Task.COMPENSATE))
    before = world.chunk(1, 4)

    world.executor.compensate(world.claimed(1, 4, Task.COMPENSATE))

    assert world.chunk(1, 4) == before
    assert world.work() == []


def test_a_failed_compensation_is_tried_again_later(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    world.trouble.errors = [OSError("broken")]

    world.executor.compensate(world.claimed(1, 4, Task.COMPENSATE))
    world.clock.advance(10)
    world.executor.compensate(world.claim())

    assert world.told(1, 4) == ["applied", "attempt_failed", "compensated"]
    assert world.names() == []


def test_a_compensation_that_always_fails_leaves_what_had_an_effect_to_a_person(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    world.trouble.errors = [OSError("broken")] * ATTEMPTS

    world.executor.compensate(world.claimed(1, 4, Task.COMPENSATE))
    world.clock.advance(10)
    world.executor.compensate(world.claim())

    given_up = world.chunk(1, 4)[-1]
    assert isinstance(given_up, ChunkCompensated)
    # The third item was rejected: there is nothing of it to undo.
    assert [outcome.ordinal for outcome in each(given_up.conflicting)] == [1, 2, 4]
    assert world.work() == []


def test_a_lost_connection_while_compensating_costs_no_attempt(world: World) -> None:
    world.executor.apply(world.claimed(1, 4))
    claim = world.claimed(1, 4, Task.COMPENSATE)
    world.trouble.errors = [NotReachableError("away")]

    with pytest.raises(NotReachableError):
        world.executor.compensate(claim)
    world.executor.compensate(claim)

    assert world.told(1, 4) == ["applied", "compensated"]


def test_a_unit_hands_out_participants_bound_to_its_transaction(world: World) -> None:
    with world.store.begin() as unit:
        assert isinstance(unit, InMemoryUnit)
        assert isinstance(unit.participant("directory"), InMemoryDirectory)
