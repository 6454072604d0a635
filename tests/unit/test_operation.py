"""The operation: what each command and each finding of the engine leads to, in every status."""

import itertools
from uuid import UUID

import pytest
from scenario import (
    ALL_WELL,
    HISTORIES,
    ID,
    PLANNED,
    REQUESTED,
    SOME_REJECTED,
    WAITING,
    Scenario,
    given,
    operation_in,
)

from haulage.domain import commands as c
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
    OperationResumed,
    OperationRolledBack,
    OperationRollingBack,
    PlanningStarted,
    StepCompensated,
    StepCompleted,
    StepStarted,
    decide,
    decide_drained,
    decide_failed,
    decide_plan,
    decide_planning,
    decide_request,
    decide_rolled_back,
    decide_step_compensated,
    decide_step_completed,
    fold,
    status_after,
    steps_to_compensate,
)
from haulage.domain.status import ENDS, Status, may

S = Status

COMMAND_ID = UUID(int=7)
PAUSE = c.PauseOperation(command_id=COMMAND_ID, operation=ID, reason="lunch")
RESUME = c.ResumeOperation(command_id=COMMAND_ID, operation=ID, reason="back")
CANCEL = c.CancelOperation(command_id=COMMAND_ID, operation=ID, reason="wrong file")
ROLL_BACK = c.RollBackOperation(command_id=COMMAND_ID, operation=ID, reason="wrong organization")
CLOSE = c.CloseOperation(command_id=COMMAND_ID, operation=ID, reason="mended by hand")
START = c.StartOperation(command_id=COMMAND_ID, operation=ID, kind="import-users")

COMMANDS = (PAUSE, RESUME, CANCEL, ROLL_BACK, CLOSE)
EFFECTS: dict[c.Command, Event] = {
    PAUSE: OperationPausing(reason="lunch"),
    RESUME: OperationResumed(reason="back"),
    CANCEL: OperationCancelling(reason="wrong file"),
    ROLL_BACK: OperationRollingBack(reason="wrong organization"),
    CLOSE: OperationClosed(reason="mended by hand"),
}

# The one defined answer to each command in each status. `yes`: it has its effect. `done`: it has had it already, or
# what it asks for is the case anyway: nothing happens. `no`: it is refused.
ANSWERS = """
                            pause     resume    cancel    roll back   close
    requested               no        done      yes       no          no
    planning                no        done      yes       no          no
    running                 yes       done      yes       yes         no
    pausing                 done      yes       yes       no          no
    paused                  done      yes       yes       yes         no
    waiting                 yes       done      yes       yes         no
    cancelling              no        no        done      yes         no
    cancelled               no        no        done      no          no
    rolling_back            no        no        no        done        no
    rolled_back             no        no        no        done        no
    needs_attention         no        no        no        done        yes
    closed                  no        no        no        no          done
    completed               no        no        no        no          no
    completed_with_rejects  no        no        no        no          no
    failed                  no        no        no        no          no
"""
CELLS = [
    pytest.param(Status(row[0]), command, answer, id=f"{type(command).__name__}-{row[0]}")
    for row in map(str.split, ANSWERS.strip().splitlines()[1:])
    for command, answer in zip(COMMANDS, row[1:], strict=True)
]


# -- what people ask for -----------------------------------------------------------------------------------------------
def test_every_command_has_an_answer_in_every_status() -> None:
    assert {(cell.values[0], cell.values[1]) for cell in CELLS} == set(itertools.product(Status, COMMANDS))


@pytest.mark.parametrize(("status", "command", "answer"), CELLS)
def test_each_command_has_one_defined_answer(status: Status, command: c.Command, answer: str) -> None:
    scenario = given(status).when(command)
    match answer:
        case "yes":
            scenario.then(EFFECTS[command])
        case "done":
            scenario.then_nothing()
        case _:
            scenario.then_refused(f"an operation that is {status} can't become")


@pytest.mark.parametrize(("status", "command", "answer"), CELLS)
def test_a_command_has_its_effect_only_where_the_table_knows_the_transition(
    status: Status, command: c.Command, answer: str
) -> None:
    known = may(status, status_after(EFFECTS[command], status))

    assert known or answer != "yes"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_to_an_operation_nobody_asked_for_is_refused(command: c.Command) -> None:
    given(()).when(command).then_refused("there is no such operation")


def test_a_start_is_not_for_an_operation_that_exists() -> None:
    given(S.RUNNING).when(START).then_refused("StartOperation is not a command to an operation that exists")


def test_the_same_request_again_yields_nothing() -> None:
    Scenario(Operation()).when_engine(decide_request, REQUESTED).then(REQUESTED)


def test_another_request_under_the_same_id_is_refused() -> None:
    other = OperationRequested(definition_version=1, parameters_digest="other")

    given((REQUESTED,)).when_engine(decide_request, other).then_refused("exists already, with other parameters")


# -- what the engine found: planning -----------------------------------------------------------------------------------
def test_planning_begins_once() -> None:
    given(S.REQUESTED).when_engine(decide_planning).then(PlanningStarted())


@pytest.mark.parametrize("status", set(Status) - {S.REQUESTED})
def test_planning_begins_only_where_it_was_asked_for(status: Status) -> None:
    given(status).when_engine(decide_planning).then_nothing()


def test_the_first_step_starts_with_the_plan() -> None:
    given(S.PLANNING).when_engine(decide_plan, PLANNED).then(PLANNED, StepStarted(step="first"))


@pytest.mark.parametrize("nothing_to_do", [{"items": 0}, {"steps": ()}], ids=["no items", "no steps"])
def test_a_plan_with_nothing_to_do_is_complete_at_once(nothing_to_do: dict[str, object]) -> None:
    empty = PLANNED.model_copy(update=nothing_to_do)

    given(S.PLANNING).when_engine(decide_plan, empty).then(empty, OperationCompleted(counts=Counts()))


@pytest.mark.parametrize("status", set(Status) - {S.PLANNING})
def test_a_plan_that_comes_too_late_is_dropped(status: Status) -> None:
    given(status).when_engine(decide_plan, PLANNED).then_nothing()


# -- what the engine found: steps --------------------------------------------------------------------------------------
def test_when_a_step_is_complete_the_next_one_starts() -> None:
    given(S.RUNNING).when_engine(decide_step_completed, "first", ALL_WELL).then(
        StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second")
    )


@pytest.mark.parametrize(
    ("counts", "end"), [(ALL_WELL, S.COMPLETED), (SOME_REJECTED, S.COMPLETED_WITH_REJECTS)], ids=["all well", "rejects"]
)
def test_after_the_last_step_the_operation_is_complete(counts: Counts, end: Status) -> None:
    in_last_step = (*HISTORIES[S.RUNNING], StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second"))
    expected = (StepCompleted(step="second", counts=counts), OperationCompleted(counts=counts))

    given(in_last_step).when_engine(decide_step_completed, "second", counts).then(*expected)

    assert fold((*in_last_step, *expected)).status is end


@pytest.mark.parametrize("status", set(Status) - {S.RUNNING})
def test_a_step_is_completed_only_while_the_operation_runs(status: Status) -> None:
    given(status).when_engine(decide_step_completed, "first", ALL_WELL).then_nothing()


def test_only_the_step_at_hand_is_completed() -> None:
    given(S.RUNNING).when_engine(decide_step_completed, "second", ALL_WELL).then_nothing()


# -- what the engine found: failure and draining -----------------------------------------------------------------------
FAILED = OperationFailed(code="input", message="The file is empty.")


@pytest.mark.parametrize("status", [S.REQUESTED, S.PLANNING, S.RUNNING, S.WAITING])
def test_an_operation_that_goes_on_by_itself_can_fail(status: Status) -> None:
    given(status).when_engine(decide_failed, FAILED).then(FAILED)


@pytest.mark.parametrize("status", set(Status) - {S.REQUESTED, S.PLANNING, S.RUNNING, S.WAITING})
def test_what_a_person_asked_for_goes_before_a_failure(status: Status) -> None:
    given(status).when_engine(decide_failed, FAILED).then_nothing()


def test_an_operation_nobody_asked_for_does_not_fail() -> None:
    given(()).when_engine(decide_failed, FAILED).then_nothing()


def test_a_pause_takes_effect_when_nothing_is_in_flight() -> None:
    given(S.PAUSING).when_engine(decide_drained).then(OperationPaused())


def test_a_cancellation_takes_effect_when_nothing_is_in_flight() -> None:
    given(S.CANCELLING).when_engine(decide_drained).then(OperationCancelled())


@pytest.mark.parametrize("status", set(Status) - {S.PAUSING, S.CANCELLING})
def test_nothing_in_flight_means_nothing_to_others(status: Status) -> None:
    given(status).when_engine(decide_drained).then_nothing()


# -- what the engine found: rolling back -------------------------------------------------------------------------------
TWO_STEPS = (
    *HISTORIES[S.RUNNING],
    StepCompleted(step="first", counts=ALL_WELL),
    StepStarted(step="second"),
    OperationRollingBack(),
)


def test_steps_are_compensated_newest_first() -> None:
    assert steps_to_compensate(fold(TWO_STEPS)) == ("second", "first")


def test_a_step_that_never_began_is_not_compensated() -> None:
    assert steps_to_compensate(operation_in(S.ROLLING_BACK)) == ("first",)
    given(S.ROLLING_BACK).when_engine(decide_step_compensated, "second", 0).then_nothing()


def test_a_rollback_does_not_end_while_a_step_is_to_be_compensated() -> None:
    given(TWO_STEPS).when_engine(decide_rolled_back).then_nothing()


def test_a_rollback_goes_on_with_the_step_before() -> None:
    given(TWO_STEPS).when_engine(decide_step_compensated, "second", 0).then(StepCompensated(step="second"))


def test_a_rollback_ends_with_the_first_step() -> None:
    given((*TWO_STEPS, StepCompensated(step="second"))).when_engine(decide_step_compensated, "first", 0).then(
        StepCompensated(step="first"), OperationRolledBack()
    )


def test_what_any_step_had_to_leave_is_left_for_a_person() -> None:
    left_one = (*TWO_STEPS, StepCompensated(step="second", conflicting=1))

    given(left_one).when_engine(decide_step_compensated, "first", 2).then(
        StepCompensated(step="first", conflicting=2), OperationNeedsAttention(items=3)
    )


def test_a_rollback_with_nothing_to_compensate_ends_at_once() -> None:
    cancelled_early = (REQUESTED, OperationCancelling(), OperationRollingBack())

    assert steps_to_compensate(fold(cancelled_early)) == ()
    given(cancelled_early).when_engine(decide_rolled_back).then(OperationRolledBack())


@pytest.mark.parametrize("status", set(Status) - {S.ROLLING_BACK})
def test_nothing_is_compensated_unless_the_operation_rolls_back(status: Status) -> None:
    given(status).when_engine(decide_step_compensated, "first", 0).then_nothing()
    given(status).when_engine(decide_rolled_back).then_nothing()


# -- fold --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", HISTORIES)
def test_each_history_leads_to_its_status(status: Status) -> None:
    operation = fold(HISTORIES[status])

    assert operation.status is status
    assert operation.version == len(HISTORIES[status])
    assert operation.ended == (status in ENDS)


@pytest.mark.parametrize("status", HISTORIES)
def test_folding_from_any_cut_equals_folding_whole(status: Status) -> None:
    history = HISTORIES[status]

    for cut in range(len(history) + 1):
        assert fold(history[cut:], fold(history[:cut])) == fold(history)


@pytest.mark.parametrize("status", HISTORIES)
def test_a_state_survives_being_stored_as_json(status: Status) -> None:
    operation = fold(HISTORIES[status])

    assert Operation.model_validate_json(operation.model_dump_json()) == operation


def test_what_the_events_say_is_in_the_state() -> None:
    operation = fold(HISTORIES[S.COMPLETED_WITH_REJECTS])

    assert operation.definition_version == 1
    assert operation.parameters_digest == "d1"
    assert (operation.items, operation.chunk_items) == (10, 4)
    assert operation.steps == operation.completed_steps == ("first", "second")
    assert operation.step is None
    assert operation.counts == SOME_REJECTED


def test_an_operation_without_events_does_not_exist_and_has_not_ended() -> None:
    assert not Operation().exists
    assert not Operation().ended


def test_a_waiting_operation_stands_in_for_the_steps_that_will_wait() -> None:
    assert WAITING.status is S.WAITING
    with pytest.raises(RefusedError):
        decide(WAITING, CLOSE)


def test_the_plan_a_planner_makes_twice_is_recorded_once() -> None:
    again = OperationPlanned(items=11, blocks=2, manifest_digest="m2", steps=("first",), chunk_items=4)

    given((*HISTORIES[S.PLANNING], PLANNED, StepStarted(step="first"))).when_engine(decide_plan, again).then_nothing()
