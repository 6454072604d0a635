"""The intake: each command answered after the commit, and had its effect once, however often it comes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from memory import FakeClock, InMemoryDatabase, InMemoryDirectory, InMemoryStore, InMemoryWaker
from memory.database import Transaction
from memory.directory import CLOSED
from simulation.definition import Registration, definitions

from haulage.domain import commands as c
from haulage.domain.errors import InputError, NotReachableError
from haulage.domain.event import NewEvents, Recorded
from haulage.domain.operation import (
    OperationCancelling,
    OperationPausing,
    OperationRequested,
    PlanningStarted,
)
from haulage.domain.ports import Request
from haulage.domain.work import Task
from haulage.sagas.definition import Definition, Definitions
from haulage.sagas.intake import Answer, Intake, Submitted, digest

ONE, TWO = UUID(int=1), UUID(int=2)
IMPORT = Definition(kind="import", version=3, summary="Imports.", parameters=Registration, columns=("email",), steps=())

_command_ids = itertools.count(100)


class World:
    """A database and an intake on it."""

    def __init__(self) -> None:
        self.database = InMemoryDatabase(FakeClock())
        self.store = InMemoryStore(self.database, "intake", {"directory": InMemoryDirectory})
        self.waker = InMemoryWaker()
        self.intake = self.intake_on(self.store)
        self.transactions: list[Transaction] = []
        self.database.observers.append(self.transactions.append)

    def intake_on(self, store: InMemoryStore) -> Intake:
        register = definitions(4, 2).latest("register")
        salts = itertools.count()
        return Intake(
            store,
            Definitions([register, IMPORT]),
            self.waker,
            new_salt=lambda: bytes([next(salts)]),
            check_input=self.check_input,
        )

    def check_input(self, given: c.Input) -> None:
        if given.path == "missing.csv":
            raise InputError("there is no file `missing.csv`")

    def handle(self, *submitted: Submitted) -> list[Answer]:
        return self.intake.handle(submitted)

    def topics(self, operation: UUID) -> list[str]:
        return [recorded.event.topic for recorded in self.store.stream(operation)]


@pytest.fixture
def world() -> World:
    return World()


def submitted(command: c.Command, tenant: str = "acme") -> Submitted:
    verb = next(verb for verb, kind in c.VERBS.items() if isinstance(command, kind))
    return Submitted(tenant, "ada", verb, command)


def start(operation: UUID = ONE, tenant: str = "acme", **given: Any) -> Submitted:
    """A start with a command id of its own."""
    given = {"command_id": UUID(int=next(_command_ids)), "kind": "register"} | given
    return submitted(c.StartOperation(operation=operation, **given), tenant)


def steer(command: type[c.Command], operation: UUID = ONE, tenant: str = "acme") -> Submitted:
    """A pause or the like, with a command id of its own."""
    return submitted(command(command_id=UUID(int=next(_command_ids)), operation=operation), tenant)


# -- starting ----------------------------------------------------------------------------------------------------------
def test_a_start_is_stored_whole_in_one_commit_before_it_is_answered(world: World) -> None:
    command = start(parameters={"organization": "acme"}, priority=7)

    (answer,) = world.handle(command)

    assert answer == Answer(ok=True, operation=ONE, status="accepted")
    assert len(world.transactions) == 1
    assert world.topics(ONE) == [OperationRequested.topic]
    assert world.store.request(ONE).parameters == {"organization": "acme"}
    (row,) = world.database.tables["work"].values()
    assert (row.work.task, row.work.priority, row.work.definition_version) == (Task.PLAN, 7, 1)
    assert sorted(world.waker.woken) == ["log", "work"]


def test_the_log_has_only_a_salted_digest_of_the_parameters(world: World) -> None:
    world.handle(start(ONE, parameters={"organization": "acme"}), start(TWO, parameters={"organization": "acme"}))

    one, two = (world.store.stream(operation)[0].event for operation in (ONE, TWO))

    assert isinstance(one, OperationRequested)
    assert isinstance(two, OperationRequested)
    assert one.parameters_digest == digest(world.store.request(ONE))
    assert one.parameters_digest != two.parameters_digest
    assert "acme" not in one.model_dump_json()


def test_the_digest_does_not_depend_on_the_order_of_the_parameters() -> None:
    def request(parameters: dict[str, Any]) -> Request:
        return Request(ONE, "acme", "import", 1, "ada", parameters, None, None, b"salt")

    assert digest(request({"a": 1, "b": 2})) == digest(request({"b": 2, "a": 1}))


def test_a_repeat_of_a_command_gets_the_same_answer_and_does_nothing(world: World) -> None:
    command = start()
    first = world.handle(command)

    assert world.handle(command) == first
    assert len(world.transactions) == 1


def test_a_repeat_in_the_same_group_does_nothing_either(world: World) -> None:
    command = start()

    one, two = world.handle(command, command)

    assert one == two
    assert world.topics(ONE) == [OperationRequested.topic]


def test_the_same_key_finds_the_operation_of_the_first_time(world: World) -> None:
    world.handle(start(ONE, key="monday"))

    (answer,) = world.handle(start(TWO, key="monday"))

    assert answer == Answer(ok=True, operation=ONE, status="accepted")
    assert world.topics(TWO) == []


def test_two_starts_with_one_key_in_a_group_are_one_operation(world: World) -> None:
    answers = world.handle(start(ONE, key="monday"), start(TWO, key="monday"))

    assert [answer.operation for answer in answers] == [ONE, ONE]


def test_the_same_key_with_other_parameters_is_refused(world: World) -> None:
    world.handle(start(ONE, key="monday"))

    (answer,) = world.handle(start(TWO, key="monday", parameters={"organization": "other"}))

    assert (answer.ok, answer.code) == (False, "refused")
    assert "the key `monday` belongs to operation" in answer.message


def test_a_key_is_its_tenants_own(world: World) -> None:
    world.handle(start(ONE, key="monday"))

    (answer,) = world.handle(start(TWO, tenant="other", key="monday"))

    assert answer.operation == TWO


def test_the_same_operation_asked_for_by_another_command_is_the_same_operation(world: World) -> None:
    world.handle(start(ONE))

    (answer,) = world.handle(start(ONE))

    assert answer == Answer(ok=True, operation=ONE, status="accepted")
    assert world.topics(ONE) == [OperationRequested.topic]


@pytest.mark.parametrize("other", [{"parameters": {"organization": "other"}}, {"tenant": "other"}], ids=str)
def test_an_operations_id_is_not_given_to_another(world: World, other: dict[str, Any]) -> None:
    world.handle(start(ONE))

    (answer,) = world.handle(start(ONE, **other))

    assert (answer.ok, answer.code) == (False, "refused")
    assert f"the id {ONE} belongs to another operation" in answer.message


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kind": "unheard-of"}, "there is no kind `unheard-of`; the kinds here are: import, register"),
        ({"parameters": {"organization": 7}}, "parameters of `register` that can't be used: `organization`: "),
        ({"kind": "import"}, "`import` needs an input file"),
        ({"input": c.Input(path="users.csv")}, "`register` takes no input file"),
        ({"kind": "import", "input": c.Input(path="missing.csv")}, "there is no file `missing.csv`"),
        ({"parameters": {"organization": "closed"}}, "there is no organization `closed`"),
    ],
    ids=["kind", "parameter", "no input", "an input", "file", "organization"],
)
def test_what_can_not_work_is_refused_with_a_sentence_and_nothing_is_stored(
    world: World, given: dict[str, Any], sentence: str
) -> None:
    world.database.tables[CLOSED]["closed"] = True

    (answer,) = world.handle(start(**given))

    assert not answer.ok
    assert answer.operation is None
    assert sentence in answer.message
    assert world.transactions == []


def test_what_was_refused_may_be_accepted_later(world: World) -> None:
    world.database.tables[CLOSED]["acme"] = True
    command = start(parameters={"organization": "acme"})
    world.handle(command)
    del world.database.tables[CLOSED]["acme"]

    (answer,) = world.handle(command)

    assert answer.ok


def test_a_refused_command_does_not_cost_the_others_of_its_group(world: World) -> None:
    answers = world.handle(start(ONE), start(TWO, kind="unheard-of"), start(UUID(int=3)))

    assert [answer.ok for answer in answers] == [True, False, True]
    assert len(world.transactions) == 1


# -- steering ----------------------------------------------------------------------------------------------------------
def test_a_person_steers_an_operation_of_her_own_tenant(world: World) -> None:
    world.handle(start())

    (answer,) = world.handle(steer(c.CancelOperation))

    assert answer == Answer(ok=True, operation=ONE, status="cancelling")
    assert world.topics(ONE)[-1] == OperationCancelling.topic
    assert world.store.stream(ONE)[-1].context.actor == "ada"


@pytest.mark.parametrize("tenant", ["acme", "other"])
def test_an_operation_that_is_unknown_or_another_tenants_is_not_found(world: World, tenant: str) -> None:
    if tenant == "other":
        world.handle(start())

    (answer,) = world.handle(steer(c.CancelOperation, tenant=tenant))

    assert (answer.ok, answer.code) == (False, "not_found")
    assert f"there is no operation {ONE}" in answer.message


def test_asking_for_what_is_the_case_already_is_accepted_without_an_event(world: World) -> None:
    world.handle(start())
    world.handle(steer(c.CancelOperation))

    (answer,) = world.handle(steer(c.CancelOperation))

    assert answer == Answer(ok=True, operation=ONE, status="cancelling")
    assert world.topics(ONE).count(OperationCancelling.topic) == 1


def test_what_the_table_has_no_place_for_is_refused(world: World) -> None:
    world.handle(start())

    (answer,) = world.handle(steer(c.PauseOperation))

    assert (answer.ok, answer.code) == (False, "refused")
    assert "an operation that is requested can't become pausing" in answer.message


def test_commands_to_one_operation_in_one_group_are_taken_in_their_order(world: World) -> None:
    answers = world.handle(start(), steer(c.CancelOperation), steer(c.RollBackOperation))

    assert [answer.status for answer in answers] == ["accepted", "cancelling", "rolling_back"]


# -- conflicts ---------------------------------------------------------------------------------------------------------
class Overtaken(InMemoryStore):
    """A store on which something happens just after each of the first few streams was read."""

    happens: Callable[[], object] = lambda: None
    times = 0

    def stream(self, stream: UUID) -> Sequence[Recorded]:
        answer = super().stream(stream)
        if self.times:
            self.times -= 1
            self.happens()
        return answer


def overtaken(world: World, happens: Callable[[], object], times: int = 1) -> Intake:
    store = Overtaken(world.database, "intake-2", {"directory": InMemoryDirectory})
    store.happens, store.times = happens, times
    return world.intake_on(store)


def test_the_same_command_taken_in_twice_at_once_has_its_effect_once(world: World) -> None:
    command = start(key="monday")

    (answer,) = overtaken(world, lambda: world.handle(command)).handle([command])

    assert answer == Answer(ok=True, operation=ONE, status="accepted")
    assert world.topics(ONE) == [OperationRequested.topic]


def test_a_command_that_is_overtaken_is_decided_anew(world: World) -> None:
    world.handle(start())

    (answer,) = overtaken(world, lambda: world.handle(steer(c.CancelOperation))).handle([steer(c.CancelOperation)])

    assert answer.ok
    assert world.topics(ONE).count(OperationCancelling.topic) == 1


def test_a_stale_command_does_not_cost_the_others_of_its_group(world: World) -> None:
    world.handle(start(ONE))
    group = [steer(c.CancelOperation, ONE), start(TWO)]

    answers = overtaken(world, lambda: world.handle(steer(c.CancelOperation, ONE))).handle(group)

    assert [answer.ok for answer in answers] == [True, True]
    assert world.topics(TWO) == [OperationRequested.topic]


def test_a_sender_whose_operation_keeps_changing_is_asked_to_repeat(world: World) -> None:
    world.handle(start())
    changes = itertools.count()

    def keeps_changing() -> None:
        with world.store.begin() as unit:
            stream = world.store.stream(ONE)
            event = PlanningStarted() if next(changes) == 0 else OperationPausing()
            unit.append([NewEvents(ONE, len(stream), (event,), stream[0].context)])

    (answer,) = overtaken(world, keeps_changing, times=10).handle([steer(c.CancelOperation)])

    assert (answer.ok, answer.code) == (False, "busy")
    assert "Send the command again" in answer.message


def test_a_database_that_is_away_is_nobodys_answer(world: World) -> None:
    def away() -> None:
        raise NotReachableError("away")

    command = start()
    with pytest.raises(NotReachableError):
        overtaken(world, away).handle([command])

    (answer,) = world.handle(command)
    assert answer.ok
