"""What is said about an operation while it is followed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from haulage.domain.status import Status
from haulage.infra.cli.bar import PlainBar, extent, tail_of
from haulage.projections.progress import Progress

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def progress(status: Status, *, done: int = 0, seconds: int = 0) -> Progress:
    """An import of 1,000 items, at 100 a second."""
    made = Progress(UUID(int=7), "default", "import-users", "ann", 1, 0, BEGAN, BEGAN)
    made.status, made.total, made.steps, made.step = status, 1000, ("add-users",), "add-users"
    made.working_since = made.updated_at = BEGAN + timedelta(seconds=seconds)
    for second in range(1, seconds + 1):
        made.pace.add(100, float(second))
    made.succeeded, made.applied = done, done
    return made


def test_a_plain_bar_says_a_thing_when_it_changes_and_not_again(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainBar() as bar:
        bar.show(progress(Status.PLANNING), BEGAN)
        for done in (0, 100, 200):
            bar.show(progress(Status.RUNNING, done=done), BEGAN)
        for _ in range(3):
            bar.say("Waiting: the database is away.")
        bar.show(progress(Status.COMPLETED, done=1000), BEGAN)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[2] for line in err.splitlines()] == [
        "planning, 0/1,000",
        "running, 0/1,000",
        "the database is away.",
        "completed, 1,000/1,000",
    ]


def test_what_remains_is_a_range_and_shrinks_while_nothing_is_heard() -> None:
    running = progress(Status.RUNNING, done=500, seconds=5)
    now = list(tail_of(running, running.updated_at))
    later = list(tail_of(running, running.updated_at + timedelta(seconds=2)))
    assert now == ["500/1,000", "100/s", "5.0 s–7.8 s left"]
    assert later == ["500/1,000", "100/s", "3.0 s–4.7 s left"]


def test_a_rollback_counts_what_is_compensated_of_what_was_applied() -> None:
    rolling_back = progress(Status.ROLLING_BACK, done=600)
    rolling_back.compensated = 200
    assert extent(rolling_back) == (200, 600)


def test_what_is_paused_has_no_time_left_and_no_rate() -> None:
    paused = progress(Status.PAUSED, done=500, seconds=5)
    paused.working_since = None
    assert list(tail_of(paused, BEGAN)) == ["paused", "500/1,000"]
