"""The connection: comes back by itself, says what is wrong in sentences, never shows a secret."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_server import BusServer, free_port, until
from nats.aio.msg import Msg

from haulage.domain.errors import NotReachableError
from haulage.infra.nats.connection import Bus


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BusServer]:
    server = BusServer(tmp_path / "nats").start()
    yield server
    server.kill()


def test_a_server_that_is_not_there_is_told_in_a_sentence_without_the_password() -> None:
    url = f"nats://alice:opensesame@127.0.0.1:{free_port()}"
    with pytest.raises(NotReachableError) as raised:
        Bus(url).open(patience_seconds=0.5)
    assert "connection refused" in str(raised.value)
    assert "127.0.0.1" in str(raised.value)
    assert "opensesame" not in f"{raised.value}{raised.value.__cause__}{Bus(url)!r}"


@pytest.mark.parametrize("url", ["", "http://host:4222", "nats://host:port", "nats://", "nats://u:opensesame@:x"])
def test_a_url_that_can_not_be_read_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(NotReachableError, match="URL") as raised:
        Bus(url)
    assert "opensesame" not in str(raised.value)


def test_credentials_come_from_the_url_percent_signs_decoded(tmp_path: Path) -> None:
    users = 'authorization { users: [ { user: "ann", password: "p@ss/word" } ] }'
    server = BusServer(tmp_path / "nats", users).start()
    try:
        with Bus(f"nats://ann:p%40ss%2Fword@127.0.0.1:{server.port}") as bus:
            assert bus.connected
        with pytest.raises(NotReachableError, match="does not accept these credentials") as raised:
            Bus(f"nats://ann:wrong-one@127.0.0.1:{server.port}").open()
        assert "wrong-one" not in str(raised.value)
    finally:
        server.kill()


def test_a_token_in_the_url_or_beside_it_lets_in(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats", 'authorization { token: "s3cret" }').start()
    try:
        with Bus(f"nats://s3cret@127.0.0.1:{server.port}") as one, Bus(server.url, token="s3cret") as other:
            assert one.connected
            assert other.connected
        assert "s3cret" not in repr(one)
    finally:
        server.kill()


def test_it_connects_in_the_background_when_the_server_comes_later(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats")
    made = threading.Event()
    bus = Bus(server.url).open(patience_seconds=None)

    async def note() -> None:
        made.set()

    try:
        bus.on_connection(note)
        assert not bus.connected
        server.start()
        assert made.wait(20)
        assert bus.connected
    finally:
        bus.close()
        server.kill()


def test_after_kill_9_of_the_server_it_is_back_with_its_subscriptions(server: BusServer) -> None:
    heard: list[bytes] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.data)

    with Bus(server.url) as bus:
        bus.call(bus.subscribe("x", hear))
        for round_ in range(3):
            server.kill()
            until(lambda: not bus.connected)
            server.start()
            until(lambda: bus.connected)
            bus.call(bus.client.publish("x", str(round_).encode()))
            until(lambda round_=round_: len(heard) > round_)  # type: ignore[misc]
        assert bus.connections == 4
    assert heard == [b"0", b"1", b"2"]


def test_more_failed_attempts_than_the_library_allows_do_not_end_it(server: BusServer) -> None:
    with Bus(server.url) as bus:
        server.kill()
        until(lambda: not bus.connected)
        # The library counts attempts by server and gives up past 60.
        until(lambda: any(one.reconnects > 3 for one in bus.client.server_pool))
        bus._loop.call_soon_threadsafe(lambda: setattr(bus.client._server_pool[0], "reconnects", 1000))
        server.start()
        until(lambda: bus.connected)


def test_a_server_that_says_no_for_a_while_is_tried_again(server: BusServer, tmp_path: Path) -> None:
    with Bus(server.url) as bus:
        server.kill()
        locked = BusServer(tmp_path / "locked", 'authorization { token: "other" }')
        locked._config.write_text(locked._config.read_text().replace(str(locked.port), str(server.port)))
        locked.port = server.port
        locked.start()
        until(lambda: bus.trouble is not None and "credentials" in bus.trouble)
        locked.kill()
        server.start()
        until(lambda: bus.connected)


def test_an_error_the_server_closes_the_connection_with_does_not_end_it(server: BusServer) -> None:
    with Bus(server.url) as bus:
        # Longer than the server takes: it says so and hangs up, for which the library would give up.
        bus.call(bus.client._send_publish("x", "", b"x" * 2_000_000, 2_000_000, None))
        until(lambda: bus.connections == 2)
        assert bus.call(bus.client.rtt()) > 0


def test_an_error_nobody_foresaw_does_not_end_the_reconnecting(
    server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bus(server.url) as bus:
        really = bus.client._process_connect_init
        raised: list[int] = []

        async def raise_first() -> None:
            if not raised:
                raised.append(1)
                raise ValueError("a line of the server that is far too long")
            await really()

        monkeypatch.setattr(bus.client, "_process_connect_init", raise_first)
        server.kill()
        server.start()
        until(lambda: bus.connections == 2)
        assert raised
        assert bus.call(bus.client.rtt()) > 0


def test_a_frozen_server_is_a_time_out_and_not_a_hang(server: BusServer) -> None:
    with Bus(server.url) as bus:
        server.freeze()
        try:
            with pytest.raises(NotReachableError, match="does not answer in time"), bus.reaching("asking"):
                bus.call(bus.jetstream.account_info(), 0.5)
        finally:
            server.thaw()


def test_a_round_trip_that_was_given_up_on_does_no_harm_when_it_ends(server: BusServer) -> None:
    with Bus(server.url) as bus:
        server.freeze()
        with pytest.raises(TimeoutError):
            bus.call(bus.client.flush(timeout=1))
        server.thaw()
        assert bus.call(bus.client.rtt(), 5) > 0
        assert bus.connections == 1


def test_a_slow_subscriber_loses_messages_with_a_count_and_the_others_go_on(server: BusServer) -> None:
    may_go_on = asyncio.Event()
    quick = 0

    async def sleep(msg: Msg) -> None:
        await may_go_on.wait()

    async def count(msg: Msg) -> None:
        nonlocal quick
        quick += 1

    with Bus(server.url) as bus, Bus(server.url) as other:
        bus.call(bus.subscribe("x", sleep, pending_messages=10))
        bus.call(bus.subscribe("x", count))
        bus.call(bus.client.flush())
        for _ in range(100):
            other.call(other.client.publish("x", b"x"))
        until(lambda: quick == 100)
        # Ten wait and one is being slept on.
        assert bus.dropped == 89
        assert bus.dropped_by_subject() == {"x": 89}
        bus._loop.call_soon_threadsafe(may_go_on.set)


def test_a_credentials_file_that_can_not_be_used_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nkeys", None)  # as where it is not installed
    with pytest.raises(NotReachableError, match="`nkeys`, which is not installed"):
        Bus("nats://127.0.0.1:1", credentials=tmp_path / "ann.creds").open(patience_seconds=0.5)
