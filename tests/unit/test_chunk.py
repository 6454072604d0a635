"""The chunk: applied once, split when it fails too often, compensated once and only if it was applied."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from haulage.domain.chunk import (
    Chunk,
    ChunkApplied,
    ChunkAttemptFailed,
    ChunkCompensated,
    ChunkSplit,
    decide_applied,
    decide_compensated,
    decide_failed,
    evolve,
    fold,
)
from haulage.domain.event import Event
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Counts, OutcomeKind, OutcomeRuns

DUE = datetime(2026, 1, 1, tzinfo=UTC)
TAKEN = OutcomeRuns(kind=OutcomeKind.REJECTED, code="email_taken", field="email", runs=((2, 3),))
KNOWN = OutcomeRuns(kind=OutcomeKind.SKIPPED, code="exists", runs=((5, 5),))

APPLIED = ChunkApplied(step="import", first=1, last=8, exceptions=(TAKEN, KNOWN))
SPLIT = ChunkSplit(step="import", first=1, last=8, middle=4, error="TimeoutError")
COMPENSATED = ChunkCompensated(step="import", first=1, last=8)


def failed(attempt: int, first: int = 1, last: int = 8) -> ChunkAttemptFailed:
    return ChunkAttemptFailed(step="import", first=first, last=last, attempt=attempt, error="TimeoutError", due_at=DUE)


def test_a_chunk_is_applied_once() -> None:
    assert decide_applied(Chunk(), APPLIED) == (APPLIED,)
    assert decide_applied(fold([APPLIED]), APPLIED) == ()


def test_a_chunk_that_was_split_is_not_applied() -> None:
    assert decide_applied(fold([failed(1), SPLIT]), APPLIED) == ()


def test_a_failed_attempt_is_recorded_once() -> None:
    assert decide_failed(Chunk(), failed(1), attempts=3) == (failed(1),)
    assert decide_failed(fold([failed(1)]), failed(1), attempts=3) == ()
    assert decide_failed(fold([failed(1)]), failed(2), attempts=3) == (failed(2),)


def test_the_last_attempt_splits_the_chunk_in_half() -> None:
    before = fold([failed(1), failed(2)])

    events = decide_failed(before, failed(3), attempts=3)

    assert events == (failed(3), SPLIT)
    assert decide_failed(fold([failed(1), failed(2), *events]), failed(3), attempts=3) == ()


@pytest.mark.parametrize(("first", "last", "middle"), [(1, 2, 1), (1, 3, 2), (7, 10, 8), (9, 19, 14)])
def test_both_halves_of_a_split_hold_items(first: int, last: int, middle: int) -> None:
    _, split = decide_failed(Chunk(), failed(1, first, last), attempts=1)

    assert isinstance(split, ChunkSplit)
    assert split.middle == middle
    assert first <= split.middle < last


def test_an_item_that_stands_alone_is_not_split() -> None:
    assert decide_failed(Chunk(), failed(5, 4, 4), attempts=3) == (failed(5, 4, 4),)


@pytest.mark.parametrize("over", [APPLIED, SPLIT], ids=["applied", "split"])
def test_no_attempt_fails_after_the_chunk_is_done_with(over: Event) -> None:
    assert decide_failed(fold([over]), failed(1), attempts=3) == ()


def test_a_chunk_is_compensated_once_and_only_if_it_was_applied() -> None:
    assert decide_compensated(Chunk(), COMPENSATED) == ()
    assert decide_compensated(fold([failed(1), SPLIT]), COMPENSATED) == ()
    assert decide_compensated(fold([APPLIED]), COMPENSATED) == (COMPENSATED,)
    assert decide_compensated(fold([APPLIED, COMPENSATED]), COMPENSATED) == ()


def test_counts_follow_from_the_range_and_its_exceptions() -> None:
    assert APPLIED.counts == Counts(succeeded=5, skipped=1, rejected=2)


@pytest.mark.parametrize(
    "history",
    [
        [failed(1), APPLIED, failed(1), COMPENSATED],
        [failed(1), failed(2), failed(3), SPLIT],
    ],
    ids=["applied and compensated", "split"],
)
def test_folding_from_any_cut_equals_folding_whole(history: list[Event]) -> None:
    for cut in range(len(history) + 1):
        chunk = fold(history[:cut])
        for event in history[cut:]:
            chunk = evolve(chunk, event)
        assert chunk == fold(history)


def test_the_same_range_of_the_same_step_is_the_same_chunk_for_ever() -> None:
    # Written down, since streams in every log have been named like this.
    operation = UUID("0198a000-0000-7000-8000-000000000001")

    assert chunk_stream(operation, "import", 1, 2000) == UUID("9d41f3e5-e37d-5aae-b3e0-e959762667a8")


def test_other_ranges_steps_and_operations_are_other_chunks() -> None:
    one, two = UUID(int=1), UUID(int=2)
    streams = {
        chunk_stream(one, "import", 1, 10),
        chunk_stream(one, "import", 1, 11),
        chunk_stream(one, "import", 2, 10),
        chunk_stream(one, "export", 1, 10),
        chunk_stream(two, "import", 1, 10),
    }

    assert len(streams) == 5
