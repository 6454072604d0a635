"""The timeline: what happened to an operation, in steps a person can follow."""

from datetime import timedelta

import pytest
from histories import START, STARTED, Told, applied, compensated, failed, planned, rejected, skipped

from haulage.domain import chunk, operation
from haulage.domain.chunk import ChunkSplit
from haulage.domain.event import Event
from haulage.domain.items import Counts
from haulage.domain.operation import (
    OperationCancelled,
    OperationCancelling,
    OperationClosed,
    OperationCompleted,
    OperationFailed,
    OperationNeedsAttention,
    OperationPaused,
    OperationPausing,
    OperationResumed,
    OperationRolledBack,
    OperationRollingBack,
    PlanningStarted,
    StepCompensated,
    StepCompleted,
    StepStarted,
)
from haulage.projections.sentences import sentence
from haulage.projections.timeline import MAX_LISTED, Entry, Views, fold


def timeline_of(told: Told) -> list[Entry]:
    views: Views = {}
    for recorded in told.recorded:
        views = fold(views, recorded)
    return sorted(views.values(), key=lambda entry: entry.position)


def after(*more: Event) -> list[Entry]:
    told = Told()
    told.operation(*STARTED, *more)
    return timeline_of(told)[len(STARTED) :]


def test_each_event_of_the_operation_is_an_entry_in_its_place() -> None:
    told = Told()
    told.operation(*STARTED)

    assert [entry.topic for entry in timeline_of(told)] == [event.topic for event in STARTED]


def test_the_chunks_of_a_step_are_one_entry_from_the_first_to_the_last() -> None:
    told = Told()
    it = told.operation(*STARTED)
    told.that(it, applied(1, 10, rejected(1)), after=1)
    told.that(it, applied(11, 20, skipped(12)), after=2)
    entry = timeline_of(told)[-1]

    assert entry.events == 2
    assert entry.detail == {"succeeded": 18, "skipped": 1, "rejected": 1}
    assert (entry.at, entry.last_at) == (START + timedelta(seconds=1), START + timedelta(seconds=3))
    assert (entry.position, entry.last_position) == (told.recorded[-2].position, told.recorded[-1].position)


def test_the_chunks_of_another_step_are_another_entry() -> None:
    entries = after(applied(1, 10), applied(1, 10, step="notify"))

    assert [(entry.step, entry.events) for entry in entries] == [("import", 1), ("notify", 1)]


def test_failed_attempts_are_listed_up_to_a_bound_and_counted_beyond() -> None:
    (entry,) = after(*(failed(1, 10, attempt=n) for n in range(1, MAX_LISTED + 6)))

    assert entry.events == MAX_LISTED + 5
    assert [listed["attempt"] for listed in entry.detail["listed"]] == list(range(1, MAX_LISTED + 1))
    assert entry.detail["listed"][0] == {
        "at": "2026-03-01T09:00:00+00:00",
        "first": 1,
        "last": 10,
        "attempt": 1,
        "error": "TimeoutError",
    }


def test_words_of_people_that_can_not_be_stored_are_made_to_fit() -> None:
    (entry,) = after(OperationPausing(reason="a\0b"))

    assert entry.detail["reason"] == "a\ufffdb"


SPLIT = ChunkSplit(step="import", first=1, last=1000, middle=500, error="TimeoutError")

SAID: list[tuple[Event, str]] = [
    (STARTED[0], "requested"),
    (PlanningStarted(), "planning started"),
    (planned(4000, 2000), "planned 4,000 items, in chunks of 2,000; steps: import"),
    (StepStarted(step="import"), "step import started"),
    (
        StepCompleted(step="import", counts=Counts(succeeded=2, rejected=1)),
        "step import complete: 2 succeeded, 1 rejected",
    ),
    (OperationCompleted(counts=Counts()), "completed: no items"),
    (
        OperationFailed(code="poison", message="It can't go on.", step="import"),
        "failed in step import: It can't go on.",
    ),
    (OperationPausing(reason="lunch"), "pause asked for: lunch"),
    (OperationPaused(), "paused"),
    (OperationResumed(), "resumed"),
    (OperationCancelling(reason="wrong file"), "cancellation asked for: wrong file"),
    (OperationCancelled(), "cancelled; what was applied stays"),
    (OperationRollingBack(), "rollback asked for"),
    (StepCompensated(step="import", conflicting=1), "step import is compensated; 1 item left as they were"),
    (OperationRolledBack(), "rolled back: everything applied is compensated"),
    (OperationNeedsAttention(items=3), "needs attention: 3 items could not be compensated"),
    (OperationClosed(reason="seen to"), "closed: seen to"),
    (applied(1, 2000, rejected(7)), "applied 1 chunk of step import: 1,999 succeeded, 1 rejected"),
    (failed(1, 10), "1 attempt at chunks of step import failed, first TimeoutError at items 1 to 10"),
    (SPLIT, "1 chunk of step import split in half, first items 1 to 1,000 after TimeoutError"),
    (compensated(1, 10, skipped(2)), "compensated 1 chunk of step import: 10 items, 1 of them left as they were"),
]


@pytest.mark.parametrize(("event", "said"), SAID, ids=[event.topic for event, _ in SAID])
def test_each_event_has_a_sentence(event: Event, said: str) -> None:
    (entry,) = after(event)

    assert sentence(entry) == said


def test_no_event_of_the_domain_is_without_a_sentence() -> None:
    assert {type(event) for event, _ in SAID} == {*operation.EVENTS, *chunk.EVENTS}
