"""The estimate: what is left, where that can be known at all."""

import json
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
from histories import REQUESTED, START, STARTED, Told, applied, compensated, planned

from haulage.domain.items import Counts
from haulage.domain.operation import (
    OperationCompleted,
    OperationPaused,
    OperationPausing,
    OperationResumed,
    OperationRollingBack,
    StepStarted,
)
from haulage.projections.document import document
from haulage.projections.estimate import estimate
from haulage.projections.progress import Progress, Views, fold

CHUNK = 10


def progress_of(told: Told, operation: UUID) -> Progress:
    views: Views = {}
    for recorded in told.recorded:
        views = fold(views, recorded)
    return views[operation]


def run(told: Told, operation: UUID, chunks: range, seconds: float | Random = 1.0) -> None:
    """Chunk after chunk, each `seconds` after the one before, or as long as chance has it."""
    for chunk in chunks:
        took = seconds if isinstance(seconds, float) else seconds.lognormvariate(0, 0.5)
        told.that(operation, applied(chunk * CHUNK + 1, chunk * CHUNK + CHUNK), after=took)


def started(told: Told, items: int, steps: tuple[str, ...] = ("import",)) -> UUID:
    return told.operation(REQUESTED, planned(items, CHUNK, steps), StepStarted(step=steps[0]))


def test_nothing_is_known_before_the_plan() -> None:
    told = Told()

    assert estimate(progress_of(told, told.operation(REQUESTED))) is None


def test_two_chunks_say_nothing_and_three_do() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(2))
    assert estimate(progress_of(told, it)) is None

    run(told, it, range(2, 3))
    assert estimate(progress_of(told, it)) is not None


def test_a_steady_pace_goes_on() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(40))
    found = estimate(progress_of(told, it))

    assert found is not None
    assert found.p50_seconds == pytest.approx(60)
    assert found.p90_seconds > found.p50_seconds


def test_the_longer_a_pace_was_steady_the_narrower_the_estimate() -> None:
    told = Told()
    it = started(told, items=100_000)
    run(told, it, range(20))
    early = estimate(progress_of(told, it))
    run(told, it, range(20, 900))
    late = estimate(progress_of(told, it))

    assert early is not None
    assert late is not None
    assert late.p90_seconds / late.p50_seconds < early.p90_seconds / early.p50_seconds


def test_the_recent_pace_counts_and_not_the_average() -> None:
    told = Told()
    it = started(told, items=100_000)
    run(told, it, range(100), seconds=1.0)
    run(told, it, range(100, 1100), seconds=0.1)

    assert progress_of(told, it).pace.rate == pytest.approx(100, rel=0.05)


def test_slow_chunks_are_averaged_over_several() -> None:
    told = Told()
    it = started(told, items=10_000)
    run(told, it, range(200), seconds=Random(1))
    found = progress_of(told, it)

    assert found.pace.rate == pytest.approx(200 * CHUNK / found.working_seconds, rel=0.3)


def test_a_burst_of_chunks_at_the_same_time_is_no_infinite_pace() -> None:
    told = Told()
    it = started(told, items=10_000)
    run(told, it, range(10), seconds=0.0)
    assert progress_of(told, it).pace.rate is None

    run(told, it, range(10, 11), seconds=1.0)
    assert progress_of(told, it).pace.rate == 110.0


def test_nothing_is_known_while_paused_and_the_pause_changes_nothing_after_it() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(40))
    told.that(it, OperationPausing())
    told.that(it, OperationPaused())
    assert estimate(progress_of(told, it)) is None

    told.that(it, OperationResumed(), after=86_400)
    found = estimate(progress_of(told, it))
    assert found is not None
    assert found.p50_seconds == pytest.approx(60)


def test_the_time_since_the_last_chunk_is_taken_off() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(40))
    found = estimate(progress_of(told, it), now=told.now + timedelta(seconds=5))

    assert found is not None
    assert found.p50_seconds == pytest.approx(55)


def test_after_an_unusual_silence_nothing_is_known() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(40))

    assert estimate(progress_of(told, it), now=told.now + timedelta(seconds=16)) is None


def test_a_silence_that_is_usual_is_none() -> None:
    told = Told()
    it = started(told, items=1000)
    run(told, it, range(10), seconds=60.0)

    assert estimate(progress_of(told, it), now=told.now + timedelta(seconds=90)) is not None


def test_later_steps_are_named_and_not_included() -> None:
    told = Told()
    it = started(told, items=100, steps=("import", "notify", "report"))
    run(told, it, range(5))
    found = estimate(progress_of(told, it))

    assert found is not None
    assert found.p50_seconds == pytest.approx(5)
    assert found.later_steps == 2


def test_a_rollback_has_what_was_applied_before_it() -> None:
    told = Told()
    it = started(told, items=100)
    run(told, it, range(8), seconds=5.0)
    told.that(it, OperationRollingBack())
    for chunk in range(4):
        told.that(it, compensated(chunk * CHUNK + 1, chunk * CHUNK + CHUNK), after=1)
    found = estimate(progress_of(told, it))

    assert found is not None
    assert found.p50_seconds == pytest.approx(4)


def test_an_ended_operation_has_nothing_left_to_estimate() -> None:
    told = Told()
    it = started(told, items=50)
    run(told, it, range(5))
    told.that(it, OperationCompleted(counts=Counts(succeeded=50)))

    assert estimate(progress_of(told, it)) is None


def test_nine_times_of_ten_the_upper_estimate_is_enough_for_a_pace_that_varies_by_chance() -> None:
    enough = []
    for seed in range(30):
        told = Told()
        it = started(told, items=3000)
        run(told, it, range(100), seconds=Random(seed))
        middle, found = told.now, estimate(progress_of(told, it))
        run(told, it, range(100, 300), seconds=Random(seed + 1000))
        assert found is not None
        enough.append(told.now - middle <= timedelta(seconds=found.p90_seconds))

    assert sum(enough) >= 27


def test_the_document_is_json_with_the_position_as_a_string() -> None:
    told = Told()
    it = told.operation(*STARTED)
    run(told, it, range(3))
    found = json.loads(json.dumps(document(progress_of(told, it))))

    assert found["position"] == str(7 << 10)
    assert found["items"] == {"total": 100, "done": 30, "succeeded": 30, "skipped": 0, "rejected": 0}
    assert found["rate"] == pytest.approx(10)
    assert found["remaining"]["p50_seconds"] == pytest.approx(7)
    assert (found["status"], found["error"], found["ended_at"]) == ("running", None, None)
    assert found["requested_at"] == START.isoformat()
