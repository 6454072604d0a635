"""Progress: how far each operation is, at which pace, and how it ended."""

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import ClassVar
from uuid import UUID

import pytest
from histories import REQUESTED, START, STARTED, Told, applied, compensated, failed, planned, rejected, skipped

from haulage.domain import chunk, operation
from haulage.domain.chunk import ChunkSplit
from haulage.domain.event import Event
from haulage.domain.items import Counts
from haulage.domain.operation import (
    OperationClosed,
    OperationCompleted,
    OperationFailed,
    OperationNeedsAttention,
    OperationPaused,
    OperationPausing,
    OperationResumed,
    OperationRollingBack,
    PlanningStarted,
    StepCompensated,
    StepCompleted,
    StepStarted,
)
from haulage.domain.status import Status
from haulage.projections import ledger, progress, timeline
from haulage.projections.faults import FoldError
from haulage.projections.progress import Progress, Views, fold


class FromTheFuture(Event):
    topic: ClassVar[str] = "operation.teleported.v1"


def progress_of(told: Told, operation: UUID) -> Progress:
    views: Views = {}
    for recorded in told.recorded:
        views = fold(views, recorded)
    return views[operation]


def after(*more: Event) -> Progress:
    told = Told()
    return progress_of(told, told.operation(*STARTED, *more))


@pytest.mark.parametrize("view", [progress, ledger, timeline])
def test_each_view_has_a_rule_for_each_event_of_the_domain(view: ModuleType) -> None:
    ruled: set[type[Event]] = set()
    for name in ("_RULES", "_CHUNK_RULES", "_OPERATION_EVENTS"):
        ruled |= set(getattr(view, name, ()))

    assert ruled == {*operation.EVENTS, *chunk.EVENTS}


@pytest.mark.parametrize("view_fold", [progress.fold, ledger.fold, timeline.fold])
def test_an_event_without_a_rule_is_an_error_that_names_its_topic_and_position(
    view_fold: Callable[..., object],
) -> None:
    told = Told()
    told.operation(FromTheFuture())

    with pytest.raises(FoldError, match=r"operation\.teleported\.v1 at position 1024"):
        view_fold({}, told.recorded[0])


def test_an_operation_whose_beginning_was_not_seen_is_an_error() -> None:
    told = Told()
    told.operation(PlanningStarted())

    with pytest.raises(FoldError, match="has not seen begin"):
        fold({}, told.recorded[0])


def test_an_operation_just_requested_has_no_total_and_no_step() -> None:
    told = Told()
    found = progress_of(told, told.operation(REQUESTED, tenant="acme", kind="import-users"))

    assert (found.tenant, found.kind, found.actor, found.status) == (
        "acme",
        "import-users",
        "alice",
        Status.REQUESTED,
    )
    assert (found.total, found.step, found.started_at, found.ended_at) == (None, None, None, None)
    assert found.requested_at == found.updated_at == START


def test_chunks_add_up_to_items_by_outcome() -> None:
    found = after(applied(1, 10, rejected(3), rejected(4), skipped(9)), applied(11, 20))

    assert (found.succeeded, found.skipped, found.rejected, found.done) == (17, 1, 2, 20)
    assert (found.chunks, found.applied, found.total, found.status) == (2, 20, 100, Status.RUNNING)


def test_failed_attempts_and_splits_are_counted_and_do_no_items() -> None:
    split = ChunkSplit(step="import", first=1, last=10, middle=5, error="TimeoutError")
    found = after(failed(1, 10), failed(1, 10, attempt=2), split)

    assert (found.failed_attempts, found.splits, found.done, found.chunks) == (2, 1, 0, 0)


def test_the_next_step_counts_from_the_beginning_and_all_steps_are_kept_in_applied() -> None:
    told = Told()
    it = told.operation(REQUESTED, planned(items=10, steps=("first", "second")), StepStarted(step="first"))
    told.that(it, applied(1, 10, rejected(1), step="first"))
    told.that(it, StepCompleted(step="first", counts=Counts(succeeded=9, rejected=1)), StepStarted(step="second"))
    told.that(it, applied(1, 4, step="second"))
    found = progress_of(told, it)

    assert (found.step, found.done, found.rejected, found.applied) == ("second", 4, 0, 14)
    assert found.steps == ("first", "second")


def test_a_completed_operation_has_its_final_counts_and_its_end() -> None:
    told = Told()
    it = told.operation(*STARTED)
    told.that(it, applied(1, 100, rejected(5)), after=2)
    told.that(it, OperationCompleted(counts=Counts(succeeded=99, rejected=1)), after=1)
    found = progress_of(told, it)

    assert found.status is Status.COMPLETED_WITH_REJECTS
    assert found.ended_at == found.updated_at == START + timedelta(seconds=3)
    assert (found.succeeded, found.rejected) == (99, 1)
    assert found.working_seconds == 3.0


def test_paused_time_is_no_working_time() -> None:
    told = Told()
    it = told.operation(*STARTED)
    told.that(it, applied(1, 10), after=1)
    told.that(it, OperationPausing(), after=1)
    told.that(it, OperationPaused(), after=1)
    told.that(it, OperationResumed(), after=3600)
    told.that(it, applied(11, 20), after=2)
    found = progress_of(told, it)

    assert found.working_seconds == 5.0
    assert found.pace.rate == pytest.approx(20 / 5, rel=0.1)


def test_work_goes_on_counting_where_a_pause_was_taken_back_before_it_took_effect() -> None:
    told = Told()
    it = told.operation(*STARTED)
    told.that(it, OperationPausing(), after=1)
    told.that(it, applied(1, 10), after=1)
    told.that(it, OperationResumed(), after=1)
    told.that(it, applied(11, 20), after=1)

    assert progress_of(told, it).working_seconds == 4.0


def test_a_failure_is_told_by_code_and_message() -> None:
    found = after(OperationFailed(code="poison", message="Chunk 3 can't be applied.", step="import"))

    assert (found.status, found.error_code, found.error) == (Status.FAILED, "poison", "Chunk 3 can't be applied.")
    assert found.working_since is None


def test_a_message_with_a_nul_becomes_one_that_can_be_stored() -> None:
    assert after(OperationFailed(code="odd", message="a\0b")).error == "a\ufffdb"


def test_a_rollback_counts_what_is_compensated_and_what_was_left() -> None:
    told = Told()
    it = told.operation(*STARTED)
    told.that(it, applied(1, 10), applied(11, 20))
    told.that(it, OperationRollingBack(), after=1)
    told.that(it, compensated(11, 20, skipped(12)), after=1)
    found = progress_of(told, it)

    assert (found.applied, found.compensated, found.conflicting) == (20, 10, 1)
    assert found.status is Status.ROLLING_BACK
    assert found.pace.rate == 10.0


def test_needing_attention_is_no_end_and_being_closed_is() -> None:
    rolled = (OperationRollingBack(), StepCompensated(step="import", conflicting=1), OperationNeedsAttention(items=1))
    waiting, closed = after(*rolled), after(*rolled, OperationClosed(reason="seen to"))

    assert (waiting.status, waiting.ended_at, waiting.working_since) == (Status.NEEDS_ATTENTION, None, None)
    assert (closed.status, closed.ended_at) == (Status.CLOSED, START)


def test_the_position_is_that_of_the_last_event_taken_in() -> None:
    told = Told()
    it = told.operation(*STARTED)

    assert progress_of(told, it).position == told.recorded[-1].position
