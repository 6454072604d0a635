"""Streams and buckets: there after every start, as they should be, and never in the way of a command."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_server import BusServer, until
from nats.js import api

from haulage.domain.errors import HaulageError
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.streams import EVENTS, QUARANTINE, SUBMISSIONS, Sizes, StreamError, Streams

NAMES = {EVENTS, SUBMISSIONS, QUARANTINE, "KV_haulage-progress", "OBJ_haulage-inputs"}
MB = 1024 * 1024


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        yield bus


def configs(bus: Bus) -> dict[str, api.StreamConfig]:
    return {info.config.name or "": info.config for info in bus.call(bus.jetstream.streams_info())}


def test_all_are_there_after_it_and_a_repeat_changes_nothing(bus: Bus) -> None:
    Streams(bus).keep()
    first = configs(bus)
    Streams(bus).keep()
    assert set(first) == NAMES
    assert configs(bus) == first
    assert all(config.max_age and config.max_bytes and config.max_bytes > 0 for config in first.values())
    assert {config.storage for config in first.values()} == {"file"}


def test_other_sizes_update_what_is_there_and_keep_its_messages(bus: Bus) -> None:
    Streams(bus).keep()
    bus.call(bus.jetstream.publish("haulage.v1.event.acme.x", b"x"))
    Streams(bus, Sizes(events_seconds=3600.0, events_bytes=10 * MB)).keep()
    changed = configs(bus)[EVENTS]
    assert (changed.max_age, changed.max_bytes) == (3600.0, 10 * MB)
    Streams(bus).keep()
    assert configs(bus)[EVENTS].max_bytes == Sizes().events_bytes
    assert bus.call(bus.jetstream.stream_info(EVENTS)).state.messages == 1


def test_what_an_operator_changed_elsewhere_stays(bus: Bus) -> None:
    Streams(bus).keep()
    config = configs(bus)[EVENTS]
    config.description = "mirrored to Berlin"
    bus.call(bus.jetstream.update_stream(config))
    Streams(bus, Sizes(events_seconds=3600.0)).keep()
    assert configs(bus)[EVENTS].description == "mirrored to Berlin"


@pytest.mark.parametrize("subject", ["haulage.v1.command.>", "haulage.v1.query.acme.>", "haulage.>", ">"])
def test_a_stream_that_would_answer_commands_in_our_place_is_refused(bus: Bus, subject: str) -> None:
    # `>` needs no acknowledgements, or the server itself refuses it.
    bus.call(bus.jetstream.add_stream(name="greedy", subjects=[subject], no_ack=subject == ">"))
    with pytest.raises(StreamError, match=r"greedy .*captures .*Narrow"):
        Streams(bus).keep()


def test_a_stream_in_the_way_is_named(bus: Bus) -> None:
    bus.call(bus.jetstream.add_stream(name="mine", subjects=["haulage.v1.event.acme.>"]))
    with pytest.raises(StreamError, match=EVENTS):
        Streams(bus).keep()


def test_after_a_connection_they_are_there_again(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats").start()
    try:
        with Bus(server.url) as bus:
            Streams(bus).keep()
            server.kill()
            (tmp_path / "empty").mkdir()
            server.put_store_back(tmp_path / "empty")
            server.start()
            until(lambda: bus.connected and set(configs(bus)) == NAMES)
    finally:
        server.kill()


def test_where_the_server_has_less_room_they_get_less(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats")
    server.limit_store(400 * MB)
    server.start()
    try:
        with Bus(server.url) as bus:
            Streams(bus).keep()
            made = configs(bus)
            assert set(made) == NAMES
            assert sum(config.max_bytes or 0 for config in made.values()) <= 400 * MB
            Streams(bus).keep()
            assert configs(bus) == made
    finally:
        server.kill()


def test_a_server_without_any_room_is_told_in_a_sentence(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats")
    server.limit_store(MB)
    server.start()
    try:
        with Bus(server.url) as bus, pytest.raises(StreamError, match="no room for the stream haulage-quarantine"):
            Streams(bus).keep()
    finally:
        server.kill()


def test_a_server_without_jetstream_is_told_in_a_sentence(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats", jetstream=False).start()
    try:
        with Bus(server.url) as bus, pytest.raises(HaulageError, match="no JetStream"):
            Streams(bus).keep()
    finally:
        server.kill()
