"""Wake-ups: heard at once by every thread and process, and no harm without NATS."""

import threading
import time
from collections.abc import Iterator

import pytest
from bus_server import until

from haulage.domain.ports import Waker as WakerPort
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.wake import Waker


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        yield bus


def listening(bus: Bus) -> Waker:
    waker = Waker(bus)
    until(lambda: waker._listening)
    bus.call(bus.client.rtt())
    return waker


def test_every_thread_that_waits_is_woken_and_none_takes_it_from_another() -> None:
    waker: WakerPort = (here := Waker())
    woken: list[bool] = []
    ready = threading.Barrier(4)

    def wait() -> None:
        ready.wait()
        woken.append(here.wait("log", 20))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    waker.wake("log")
    for thread in threads:
        thread.join()
    assert woken == [True] * 3


def test_one_that_comes_while_a_thread_is_busy_ends_its_next_wait() -> None:
    waker = Waker()
    assert not waker.wait("log", 0)
    waker.wake("log")
    assert waker.wait("log", 0)
    assert not waker.wait("log", 0)


def test_a_wake_up_for_one_thing_leaves_who_waits_for_another() -> None:
    waker = Waker()
    waker.wake("work")
    assert not waker.wait("log", 0)
    assert waker.wait("work", 0)


def test_other_processes_hear_of_it(bus: Bus, nats_url: str) -> None:
    with Bus(nats_url) as other:
        here, there = Waker(bus), listening(other)
        here.wake("log")
        assert there.wait("log", 20)


def test_ones_own_wake_up_does_not_come_back_over_the_bus(bus: Bus, nats_url: str) -> None:
    here = listening(bus)
    with Bus(nats_url) as other:
        there = listening(other)
        here.wake("log")
        assert here.wait("log", 0)
        assert there.wait("log", 20)
        bus.call(bus.client.rtt())
        assert not here.wait("log", 0)


def test_a_storm_of_wake_ups_goes_out_as_a_few_and_the_last_is_not_lost(bus: Bus, nats_url: str) -> None:
    with Bus(nats_url) as other:
        here, there = Waker(bus), listening(other)
        before = bus.client.stats["out_msgs"]
        for _ in range(5000):
            here.wake("log")
        until(lambda: not here._outgoing)
        assert there.wait("log", 20)
        assert 1 <= bus.client.stats["out_msgs"] - before < 500
        there.wait("log", 0.1)
        here.wake("log")
        assert there.wait("log", 20)


def test_without_a_connection_this_process_is_woken_all_the_same() -> None:
    bus = Bus("nats://127.0.0.1:1").open(patience_seconds=None)
    try:
        waker = Waker(bus)
        began = time.monotonic()
        waker.wake("log")
        assert waker.wait("log", 0)
        assert time.monotonic() - began < 1
    finally:
        bus.close()
