"""Progress on the bus: not too often, never an old one after a new one, always the last one."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bus_server import BusServer, until
from nats.aio.msg import Msg

from haulage.domain.errors import NotReachableError
from haulage.domain.status import Status
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.progress import ProgressPublisher
from haulage.infra.nats.streams import PROGRESS_BUCKET, Streams
from haulage.projections.document import document
from haulage.projections.progress import Progress

AT = datetime(2026, 11, 25, tzinfo=UTC)


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        Streams(bus).keep()
        yield bus


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard(bus: Bus) -> list[Msg]:
    messages: list[Msg] = []

    async def hear(message: Msg) -> None:
        messages.append(message)

    bus.call(bus.subscribe("haulage.v1.progress.>", hear))
    return messages


def publisher(bus: Bus, clock: Clock, recent: Callable[[], list[Progress]] = list) -> ProgressPublisher:
    return ProgressPublisher(bus, Streams(bus), recent, clock)


def progress(**changes: Any) -> Progress:
    fields = {
        "operation": uuid4(),
        "tenant": "acme",
        "kind": "import-users",
        "actor": "ann",
        "definition_version": 1,
        "priority": 0,
        "requested_at": AT,
        "updated_at": AT,
    }
    return Progress(**(fields | changes))


def in_bucket(bus: Bus, view: Progress) -> Any:
    bucket = bus.call(bus.jetstream.key_value(PROGRESS_BUCKET))
    return json.loads(bus.call(bucket.get(f"{view.tenant}.{view.operation}")).value or b"")


def test_progress_is_on_its_subject_and_in_the_bucket(bus: Bus, clock: Clock, heard: list[Msg]) -> None:
    one, view = publisher(bus, clock), progress(position=2**60, status=Status.RUNNING, total=10, succeeded=3)
    one.offer([view])
    assert one.run_once() == 1
    until(lambda: heard)
    assert heard[0].subject == f"haulage.v1.progress.acme.{view.operation}"
    assert json.loads(heard[0].data) == document(view) == in_bucket(bus, view)
    assert heard[0].headers is not None
    assert heard[0].headers["Haulage-Position"] == str(2**60)
    assert heard[0].headers["ce-type"] == "progress.v1"
    assert one.run_once() == 0


def test_it_is_at_most_four_a_second_and_always_the_last(bus: Bus, clock: Clock, heard: list[Msg]) -> None:
    one, view = publisher(bus, clock), progress()
    for step in range(1, 101):
        view.position = view.succeeded = step
        one.offer([view])
        one.run_once()
        clock.now += 0.01
    clock.now += 0.25
    assert one.run_once() == 1
    until(lambda: len(heard) == 5)
    told = [json.loads(message.data)["items"]["succeeded"] for message in heard]
    assert told == [1, 26, 51, 76, 100]
    assert in_bucket(bus, view)["items"]["succeeded"] == 100


def test_one_busy_operation_does_not_hold_another_back(bus: Bus, clock: Clock, heard: list[Msg]) -> None:
    one, busy = publisher(bus, clock), progress(position=1)
    one.offer([busy])
    assert one.run_once() == 1
    busy.position = 2
    one.offer([busy, progress(position=3)])
    assert one.run_once() == 1


def test_what_the_projection_changes_after_the_offer_is_not_sent(bus: Bus, clock: Clock, heard: list[Msg]) -> None:
    one, view = publisher(bus, clock), progress(position=1, succeeded=1)
    one.offer([view])
    view.succeeded = 999
    one.run_once()
    assert in_bucket(bus, view)["items"]["succeeded"] == 1


def test_an_older_progress_never_follows_a_newer_one(bus: Bus, clock: Clock, heard: list[Msg]) -> None:
    one, view = publisher(bus, clock), progress(position=10)
    one.offer([view])
    one.run_once()
    view.position = 9
    one.offer([view])
    clock.now += 1
    assert one.run_once() == 0


def test_at_the_start_what_is_recent_is_published(bus: Bus, clock: Clock) -> None:
    # As after a crash between the view's transaction and the publishing.
    ended = progress(position=5, status=Status.COMPLETED)
    assert publisher(bus, clock, lambda: [ended]).run_once() == 1
    assert in_bucket(bus, ended)["status"] == "completed"


def test_many_operations_go_out_in_groups(bus: Bus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haulage.infra.nats.progress.GROUP", 10)
    one = publisher(bus, clock)
    one.offer([progress(position=n) for n in range(1, 26)])
    assert [one.run_once() for _ in range(4)] == [10, 10, 5, 0]
    info = bus.call(bus.jetstream.stream_info(f"KV_{PROGRESS_BUCKET}"))
    assert info.state.messages == 25


def test_after_nats_was_away_the_newest_goes_out_and_a_bucket_that_was_lost_is_filled_again(
    tmp_path: Path, clock: Clock
) -> None:
    server = BusServer(tmp_path / "nats").start()
    ended, running = progress(position=5, status=Status.COMPLETED), progress(position=6)
    try:
        with Bus(server.url) as bus:
            streams = Streams(bus)
            streams.keep()
            one = ProgressPublisher(bus, streams, lambda: [ended], clock)
            one.offer([running])
            assert one.run_once() == 2
            server.stop()
            until(lambda: not bus.connected)
            for position in (7, 8, 9):
                running.position = position
                one.offer([running])
                assert one.run_once() == 0
            (tmp_path / "empty").mkdir()
            server.put_store_back(tmp_path / "empty")
            server.start()
            until(lambda: bus.connected)
            until(lambda: runs(one) == 2)
            assert in_bucket(bus, running)["position"] == "9"
            assert in_bucket(bus, ended)["status"] == "completed"
    finally:
        server.kill()


def runs(one: ProgressPublisher) -> int:
    try:
        return one.run_once()
    except NotReachableError:  # the stream may not be there yet
        return 0
