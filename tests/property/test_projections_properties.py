"""Whatever legal histories are made up: the views agree with the aggregates, with each other, and with themselves."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from histories import Told, made_up
from hypothesis import given
from hypothesis import strategies as st

from haulage.domain import operation as aggregate
from haulage.domain.chunk import ChunkApplied, ChunkCompensated, ChunkEvent
from haulage.domain.event import Recorded
from haulage.domain.items import outcome_of
from haulage.domain.operation import OperationPaused, OperationResumed
from haulage.domain.status import ENDS
from haulage.projections import ledger, progress, timeline
from haulage.projections.estimate import estimate
from haulage.projections.ledger import item_outcome

histories = st.builds(lambda seed: made_up(Random(seed)), st.integers(0, 2**32))

FOLDS: list[Callable[[Any, Recorded], Any]] = [progress.fold, ledger.fold, timeline.fold]


def folded(fold: Callable[[Any, Recorded], Any], recorded: Sequence[Recorded]) -> dict[Any, Any]:
    views: dict[Any, Any] = {}
    for event in recorded:
        views = fold(views, event)
    return views


@given(told=histories)
def test_progress_agrees_with_the_aggregate(told: Told) -> None:
    for operation, found in folded(progress.fold, told.recorded).items():
        state = aggregate.fold(r.event for r in told.recorded if r.stream == operation)

        assert found.status is state.status
        assert (found.ended_at is not None) == (state.status in ENDS)
        assert found.done <= (found.total or 0)
        assert found.conflicting == state.left or found.ended_at is None
        if state.completed_steps and state.status is aggregate.Status.COMPLETED:
            assert (found.succeeded, found.skipped, found.rejected) == tuple(state.counts.model_dump().values())


@given(told=histories)
def test_progress_ledger_and_timeline_agree_with_each_other(told: Told) -> None:
    entries = folded(ledger.fold, told.recorded).values()
    moments = folded(timeline.fold, told.recorded).values()
    for operation, found in folded(progress.fold, told.recorded).items():
        mine = [entry for entry in entries if entry.operation == operation]
        told_of = [m for m in moments if m.operation == operation and m.topic == ChunkApplied.topic]

        assert found.chunks == len(mine) == sum(moment.events for moment in told_of)
        assert found.applied == sum(entry.last - entry.first + 1 for entry in mine)
        assert found.applied == sum(sum(moment.detail.values()) for moment in told_of)
        undone = [entry for entry in mine if entry.compensated_position]
        assert found.compensated == sum(entry.last - entry.first + 1 for entry in undone)


@given(told=histories)
def test_each_item_has_the_outcome_of_the_one_chunk_it_was_applied_in(told: Told) -> None:
    entries = folded(ledger.fold, told.recorded)
    seen = set()
    for recorded in told.recorded:
        event = recorded.event
        if isinstance(event, ChunkApplied):
            entry = entries[ledger.key(recorded, event)]
            for ordinal in range(event.first, event.last + 1):
                item = (recorded.context.operation, event.step, ordinal)
                assert item not in seen
                seen.add(item)
                assert item_outcome(entry, ordinal).outcome == outcome_of(ordinal, event.exceptions)


@given(told=histories)
def test_a_chunk_says_it_is_compensated_exactly_where_it_was(told: Told) -> None:
    compensated = {
        (r.context.operation, r.event.step, r.event.first): r.position
        for r in told.recorded
        if isinstance(r.event, ChunkCompensated)
    }

    for key, entry in folded(ledger.fold, told.recorded).items():
        assert entry.compensated_position == compensated.get(tuple(key))


@pytest.mark.parametrize("fold", FOLDS)
@given(told=histories)
def test_operations_do_not_touch_each_other(fold: Callable[[Any, Recorded], Any], told: Told) -> None:
    alone: dict[UUID, list[Recorded]] = defaultdict(list)
    for recorded in told.recorded:
        alone[recorded.context.operation].append(recorded)
    together: dict[Any, Any] = {}
    for events in alone.values():
        together |= folded(fold, events)

    assert folded(fold, told.recorded) == together


@pytest.mark.parametrize("fold", FOLDS)
@given(told=histories, cut=st.floats(0, 1))
def test_a_view_interrupted_anywhere_goes_on_as_if_it_had_not_been(
    fold: Callable[[Any, Recorded], Any], told: Told, cut: float
) -> None:
    place = int(cut * len(told.recorded))
    views = deepcopy(folded(fold, told.recorded[:place]))
    for recorded in told.recorded[place:]:
        views = fold(views, recorded)

    assert views == folded(fold, told.recorded)


@given(told=histories)
def test_working_time_never_shrinks_and_an_estimate_is_never_negative(told: Told) -> None:
    views: progress.Views = {}
    for recorded in told.recorded:
        before = views.get(recorded.context.operation)
        worked = before.working_seconds if before else 0.0
        views = progress.fold(views, recorded)
        after = views[recorded.context.operation]

        assert after.working_seconds >= worked
        assert after.updated_at >= recorded.at
        found = estimate(after)
        assert found is None or 0 <= found.p50_seconds <= found.p90_seconds


@given(told=histories, hours=st.integers(1, 1000))
def test_longer_pauses_change_neither_the_pace_nor_the_working_time(told: Told, hours: int) -> None:
    stretched = later_by_pauses(told.recorded, timedelta(hours=hours))

    for operation, found in folded(progress.fold, stretched).items():
        before = folded(progress.fold, told.recorded)[operation]
        assert found.working_seconds == pytest.approx(before.working_seconds)
        assert found.pace.rate == (None if before.pace.rate is None else pytest.approx(before.pace.rate))


def later_by_pauses(recorded: Sequence[Recorded], longer: timedelta) -> list[Recorded]:
    """The same history with each pause of each operation so much longer."""
    late: dict[UUID, timedelta] = defaultdict(timedelta)
    paused: set[UUID] = set()
    stretched = []
    for event in recorded:
        operation = event.context.operation
        if operation in paused and not isinstance(event.event, ChunkEvent):
            late[operation] += longer
            paused.remove(operation)
        if isinstance(event.event, OperationPaused):
            paused.add(operation)
        stretched.append(event._replace(at=event.at + late[operation]))
    return stretched


def test_the_made_up_histories_have_all_that_can_happen() -> None:
    topics = {r.event.topic for seed in range(200) for r in made_up(Random(seed)).recorded}

    assert OperationResumed.topic in topics
    assert topics == {event.topic for event in (*aggregate.EVENTS, *ChunkEvent.__subclasses__())}
