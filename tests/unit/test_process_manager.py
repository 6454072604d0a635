"""The process manager: what comes next for an operation, from what the log says and the store answers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from scenario import ALL_WELL, HISTORIES, ID, PLANNED, REQUESTED

from haulage.domain.chunk import ChunkApplied, ChunkAttemptFailed, ChunkCompensated, ChunkSplit
from haulage.domain.event import Context, Event, Recorded
from haulage.domain.items import Counts, OutcomeKind, OutcomeRuns
from haulage.domain.operation import (
    OperationCancelled,
    OperationCompleted,
    OperationNeedsAttention,
    OperationPaused,
    OperationResumed,
    OperationRolledBack,
    OperationRollingBack,
    PlanningStarted,
    StepCompensated,
    StepCompleted,
    StepStarted,
)
from haulage.domain.ports import AppliedChunk
from haulage.domain.status import ENDS, RESTS, Status
from haulage.domain.work import Task, Work
from haulage.sagas.process_manager import (
    MAX_POSITION,
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

S = Status

CONTEXT = Context(operation=ID, tenant="acme", kind="import-users", actor="ada")
REJECTED = OutcomeRuns(kind=OutcomeKind.REJECTED, code="taken", runs=((1, 1),))
CHANGED = OutcomeRuns(kind=OutcomeKind.SKIPPED, code="changed", runs=((2, 3),))
RUNNING = HISTORIES[S.RUNNING]
ROLLING_BACK = (*RUNNING, OperationRollingBack())
NOTHING_IN_FLIGHT = Found(in_flight=0, head=77)
NOTHING_APPLIED = Found(applied=())


def recorded(event: Event, position: int = 1) -> Recorded:
    return Recorded(ID, 1, position, datetime(2026, 1, 1, tzinfo=UTC), UUID(int=position), CONTEXT, event)


def dispatch_of(events: Sequence[Event], dispatch: Dispatch | None = None) -> Dispatch:
    """The memory of an operation of which these events have been read."""
    for event in events:
        dispatch = evolve(dispatch or begin(recorded(event)), recorded(event))
    assert dispatch is not None
    return dispatch


def applied(first: int, last: int, step: str = "first", *exceptions: OutcomeRuns) -> ChunkApplied:
    return ChunkApplied(step=step, first=first, last=last, exceptions=exceptions)


def ranges(work: Sequence[Work]) -> list[tuple[int, int]]:
    return [(piece.first, piece.last) for piece in work]


# -- forward -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [S.REQUESTED, S.PLANNING])
def test_until_the_plan_is_there_nothing_comes_next(status: Status) -> None:
    dispatch = dispatch_of(HISTORIES[status])

    assert decide(dispatch, window=10) == Decision(dispatch)
    assert asks(dispatch, window=10) is None


def test_a_started_step_is_cut_into_chunks_and_enqueued() -> None:
    decision = decide(dispatch_of(RUNNING), window=10)

    assert ranges(decision.work) == [(1, 4), (5, 8), (9, 10)]
    assert {(work.task, work.step, work.kind, work.tenant) for work in decision.work} == {
        (Task.APPLY, "first", "import-users", "acme")
    }


def test_work_carries_what_a_worker_must_know_to_claim_it() -> None:
    urgent = REQUESTED.model_copy(update={"definition_version": 3, "priority": 9})
    dispatch = dispatch_of((urgent, PlanningStarted(), PLANNED, StepStarted(step="first")))

    assert {(work.definition_version, work.priority) for work in decide(dispatch, window=1).work} == {(3, 9)}


def test_no_more_than_the_window_is_enqueued() -> None:
    decision = decide(dispatch_of(RUNNING), window=2)

    assert ranges(decision.work) == [(1, 4), (5, 8)]
    assert decide(decision.dispatch, window=2).work == ()


def test_each_applied_chunk_makes_room_for_the_next() -> None:
    dispatch = decide(dispatch_of(RUNNING), window=2).dispatch

    decision = decide(dispatch_of([applied(1, 4)], dispatch), window=2)

    assert ranges(decision.work) == [(9, 10)]


def test_a_split_chunk_takes_the_room_of_two() -> None:
    dispatch = decide(dispatch_of(RUNNING), window=2).dispatch
    split = ChunkSplit(step="first", first=1, last=4, middle=2, error="TimeoutError")

    halves_to_do = dispatch_of([split], dispatch)
    one_half_done = dispatch_of([applied(1, 2)], halves_to_do)
    both_done = dispatch_of([applied(3, 4)], one_half_done)

    assert decide(halves_to_do, window=2).work == decide(one_half_done, window=2).work == ()
    assert ranges(decide(both_done, window=2).work) == [(9, 10)]


def test_a_failed_attempt_changes_nothing_since_the_work_is_still_there() -> None:
    dispatch = decide(dispatch_of(RUNNING), window=2).dispatch
    failed = ChunkAttemptFailed(
        step="first", first=1, last=4, attempt=1, error="OSError", due_at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    assert dispatch_of([failed], dispatch) == dispatch


def test_when_every_item_has_an_outcome_the_step_is_completed() -> None:
    dispatch = dispatch_of((*RUNNING, applied(1, 4, "first", REJECTED), applied(5, 8), applied(9, 10)))
    counts = Counts(succeeded=9, rejected=1)

    assert decide(dispatch, window=10).events == (
        StepCompleted(step="first", counts=counts),
        StepStarted(step="second"),
    )


def test_the_next_step_counts_anew() -> None:
    in_second = (StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second"))
    dispatch = dispatch_of((*RUNNING, applied(1, 10), *in_second, applied(1, 4, "second")))

    assert dispatch.counts == Counts(succeeded=4)


def test_after_the_last_step_the_operation_is_completed() -> None:
    in_second = (StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second"))
    dispatch = dispatch_of((*RUNNING, applied(1, 10), *in_second, applied(1, 10, "second")))

    assert decide(dispatch, window=10).events == (
        StepCompleted(step="second", counts=ALL_WELL),
        OperationCompleted(counts=ALL_WELL),
    )


def test_a_late_chunk_of_an_earlier_step_is_not_counted() -> None:
    in_second = dispatch_of((*RUNNING, StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second")))

    assert dispatch_of([applied(1, 4, "first")], in_second) == in_second


# -- pause and cancel --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [S.PAUSING, S.CANCELLING, S.ROLLING_BACK, S.FAILED])
def test_what_must_drain_asks_what_is_in_flight(status: Status) -> None:
    assert asks(dispatch_of(HISTORIES[status]), window=10) == AskInFlight()


def test_a_pause_holds_the_work_and_takes_effect_when_nothing_is_in_flight() -> None:
    dispatch = dispatch_of(HISTORIES[S.PAUSING])

    assert decide(dispatch, 10, Found(in_flight=2, head=77)) == Decision(dispatch, hold=True)
    assert decide(dispatch, 10, NOTHING_IN_FLIGHT) == Decision(dispatch, hold=True, events=(OperationPaused(),))


def test_a_cancellation_withdraws_the_work_and_takes_effect_when_nothing_is_in_flight() -> None:
    dispatch = dispatch_of(HISTORIES[S.CANCELLING])

    assert decide(dispatch, 10, Found(in_flight=2, head=77)) == Decision(dispatch, withdraw=True)
    assert decide(dispatch, 10, NOTHING_IN_FLIGHT) == Decision(dispatch, withdraw=True, events=(OperationCancelled(),))


def test_without_an_answer_neither_takes_effect() -> None:
    for status in (S.PAUSING, S.CANCELLING):
        assert decide(dispatch_of(HISTORIES[status]), window=10).events == ()


def test_a_paused_operation_is_left_alone() -> None:
    dispatch = dispatch_of(HISTORIES[S.PAUSED])

    assert decide(dispatch, window=10) == Decision(dispatch)


def test_a_resumed_operation_goes_on_where_it_was() -> None:
    dispatch = decide(dispatch_of(RUNNING), window=1).dispatch
    paused = dispatch_of([*HISTORIES[S.PAUSED][len(RUNNING) :], applied(1, 4)], dispatch)

    decision = decide(dispatch_of([OperationResumed()], paused), window=1)

    assert decision.release
    assert ranges(decision.work) == [(5, 8)]


def test_what_was_done_while_a_pause_was_asked_for_is_counted() -> None:
    pausing = dispatch_of((*HISTORIES[S.PAUSING], applied(1, 4), applied(5, 8), applied(9, 10)))

    resumed = dispatch_of([OperationPaused(), OperationResumed()], pausing)

    assert decide(resumed, window=10).events[0] == StepCompleted(step="first", counts=ALL_WELL)


# -- rolling back ------------------------------------------------------------------------------------------------------
def drained(events: Sequence[Event] = ROLLING_BACK) -> Dispatch:
    """The memory of a rollback in which nothing is in flight any more."""
    return decide(dispatch_of(events), 10, NOTHING_IN_FLIGHT).dispatch


def test_a_rollback_first_withdraws_what_nobody_has_begun() -> None:
    decision = decide(dispatch_of(ROLLING_BACK), 10, Found(in_flight=1, head=77))

    assert decision.withdraw
    assert decision.dispatch.drained_at is None


def test_a_rollback_of_a_paused_operation_withdraws_what_was_held() -> None:
    decision = decide(dispatch_of((*HISTORIES[S.PAUSED], OperationRollingBack())), 10, NOTHING_IN_FLIGHT)

    assert decision.withdraw
    assert decision.dispatch.drained_at == 77


def test_a_drained_rollback_asks_for_what_was_applied_up_to_then() -> None:
    assert asks(drained(), window=10) == AskApplied("first", before=MAX_POSITION, limit=10, complete_to=77)


def test_applied_chunks_are_compensated_newest_first_within_the_window() -> None:
    found = Found(applied=(AppliedChunk(5, 8, position=30), AppliedChunk(1, 4, position=20)))

    decision = decide(drained(), 2, found)

    assert ranges(decision.work) == [(5, 8), (1, 4)]
    assert {work.task for work in decision.work} == {Task.COMPENSATE}
    assert asks(decision.dispatch, window=2) is None
    assert asks(decision.dispatch, window=3) == AskApplied("first", before=20, limit=1, complete_to=77)


def test_while_the_ledger_has_not_caught_up_the_rollback_waits() -> None:
    assert decide(drained(), 10, Found(applied=None)) == Decision(drained())


def test_when_every_chunk_is_compensated_the_step_is_and_the_rollback_ends() -> None:
    enqueued = decide(drained(), 10, Found(applied=(AppliedChunk(1, 4, position=20),))).dispatch
    all_enqueued = decide(enqueued, 10, NOTHING_APPLIED).dispatch

    assert decide(all_enqueued, window=10).events == ()

    compensated = dispatch_of([ChunkCompensated(step="first", first=1, last=4)], all_enqueued)

    assert decide(compensated, window=10).events == (StepCompensated(step="first"), OperationRolledBack())


def test_items_that_had_changed_since_are_left_for_a_person() -> None:
    enqueued = decide(drained(), 10, Found(applied=(AppliedChunk(1, 4, position=20),))).dispatch
    changed = ChunkCompensated(step="first", first=1, last=4, conflicting=(CHANGED,))
    compensated = dispatch_of([changed], decide(enqueued, 10, NOTHING_APPLIED).dispatch)

    assert decide(compensated, window=10).events == (
        StepCompensated(step="first", conflicting=2),
        OperationNeedsAttention(items=2),
    )


def test_a_rollback_goes_on_with_the_step_before_as_if_it_had_just_drained() -> None:
    second = (StepCompleted(step="first", counts=ALL_WELL), StepStarted(step="second"), OperationRollingBack())
    dispatch = drained((*RUNNING, *second))

    assert asks(dispatch, window=10) == AskApplied("second", before=MAX_POSITION, limit=10, complete_to=77)

    dispatch = dispatch_of([StepCompensated(step="second")], decide(dispatch, 10, NOTHING_APPLIED).dispatch)

    assert asks(dispatch, window=10) == AskApplied("first", before=MAX_POSITION, limit=10, complete_to=77)


def test_chunks_applied_while_it_drains_are_the_ledgers_business() -> None:
    rolling_back = dispatch_of(ROLLING_BACK)

    assert dispatch_of([applied(1, 4)], rolling_back) == rolling_back


def test_a_rollback_before_the_first_step_ends_when_it_has_drained() -> None:
    cancelled = (*HISTORIES[S.PLANNING], *HISTORIES[S.CANCELLING][len(RUNNING) :], OperationRollingBack())

    assert decide(drained(cancelled), window=10).events == (OperationRolledBack(),)


# -- ends --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", sorted(RESTS))
def test_where_haulage_rests_no_work_is_left(status: Status) -> None:
    assert decide(dispatch_of(HISTORIES[status]), 10, NOTHING_IN_FLIGHT).withdraw


@pytest.mark.parametrize("status", sorted(set(HISTORIES) - RESTS))
def test_an_operation_that_goes_on_is_remembered(status: Status) -> None:
    assert not drops(dispatch_of(HISTORIES[status]))


@pytest.mark.parametrize("status", sorted((ENDS | {S.NEEDS_ATTENTION}) - {S.FAILED}))
def test_an_operation_that_rests_is_forgotten(status: Status) -> None:
    assert drops(dispatch_of(HISTORIES[status]))


def test_a_failed_operation_is_forgotten_when_what_was_in_flight_has_ended() -> None:
    dispatch = dispatch_of(HISTORIES[S.FAILED])

    still_working = decide(dispatch, 10, Found(in_flight=1, head=77))
    done = decide(dispatch, 10, NOTHING_IN_FLIGHT)

    assert still_working.withdraw
    assert not drops(still_working.dispatch)
    assert drops(done.dispatch)


# -- memory ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", HISTORIES)
def test_reading_from_any_saved_memory_equals_reading_the_whole_log(status: Status) -> None:
    events = (*HISTORIES[status][:4], applied(1, 4), *HISTORIES[status][4:])

    for cut in range(1, len(events) + 1):
        saved = dispatch_of(events[:cut]).model_dump_json()
        assert dispatch_of(events[cut:], Dispatch.model_validate_json(saved)) == dispatch_of(events)


def test_what_the_process_manager_appends_is_haulages_own_act() -> None:
    assert dispatch_of(RUNNING).context == replace(CONTEXT, actor="haulage")
