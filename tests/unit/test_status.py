"""The table of transitions is the document; these tests hold it to what DESIGN promises of it."""

import pytest
from scenario import ALL_WELL, SOME_REJECTED

from haulage.domain.event import Event
from haulage.domain.operation import EVENTS, STATUS_AFTER, OperationCompleted, status_after
from haulage.domain.status import ENDS, RESTS, TRANSITIONS, Status, may

DESIGN = """
    requested → planning | failed | cancelling
    planning → running | completed | failed | cancelling
    running → pausing | waiting | completed | completed_with_rejects | failed | cancelling | rolling_back
    pausing → paused | running | cancelling
    paused → running | cancelling | rolling_back
    waiting → running | pausing | failed | cancelling | rolling_back
    cancelling → cancelled | rolling_back
    rolling_back → rolled_back | needs_attention
    needs_attention → closed
"""


def _drawn() -> set[tuple[Status, Status]]:
    lines = [line.split("→") for line in DESIGN.strip().splitlines()]
    return {(Status(before.strip()), Status(after.strip())) for before, afters in lines for after in afters.split("|")}


def _reachable(start: Status) -> set[Status]:
    found, new = {start}, {start}
    while new:
        new = {after for before, after in TRANSITIONS if before in new} - found
        found |= new
    return found


def test_the_table_is_the_design() -> None:
    assert set(TRANSITIONS) == _drawn()


def test_every_status_can_be_reached_from_requested() -> None:
    assert _reachable(Status.REQUESTED) == set(Status)


@pytest.mark.parametrize("status", Status)
def test_from_every_status_there_is_a_way_to_an_end(status: Status) -> None:
    assert _reachable(status) & ENDS


@pytest.mark.parametrize("end", sorted(ENDS))
def test_no_transition_leaves_an_end(end: Status) -> None:
    assert not any(may(end, after) for after in Status)


def test_haulage_rests_in_ends_and_where_a_person_must_act() -> None:
    assert {Status.NEEDS_ATTENTION} == RESTS - ENDS


def test_no_transition_leads_nowhere() -> None:
    assert all(before is not after for before, after in TRANSITIONS)


@pytest.mark.parametrize("transition", TRANSITIONS, ids=" to ".join)
def test_every_transition_says_why_it_happens(transition: tuple[Status, Status]) -> None:
    assert len(TRANSITIONS[transition].split()) >= 3


def test_every_status_but_waiting_is_led_to_by_an_event() -> None:
    completed: set[Event] = {OperationCompleted(counts=ALL_WELL), OperationCompleted(counts=SOME_REJECTED)}
    led_to = set(STATUS_AFTER.values()) | {status_after(event, Status.RUNNING) for event in completed}

    # No step of today waits; the event that leads there comes with the first that does.
    assert set(Status) - led_to == {Status.WAITING}


def test_events_that_are_no_transition_leave_the_status_as_it_is() -> None:
    steady = {event.topic for event in EVENTS if event not in STATUS_AFTER} - {OperationCompleted.topic}

    assert steady == {"operation.planned.v1", "operation.step_completed.v1", "operation.step_compensated.v1"}
