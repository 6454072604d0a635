"""Wake-ups: whoever waits for something new hears of it at once, in this process and, over NATS, in the others.

Best effort and nothing more: a wake-up that is lost costs its listener one poll. Without NATS, or while it is away,
only this process is woken.
"""

import asyncio
import threading
from collections import defaultdict
from contextlib import suppress
from uuid import uuid4

from nats.aio.msg import Msg

from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.failures import AWAY

QUIET_SECONDS = 0.005
"""Others are woken at most this often for one thing; the last wake-up always goes out."""


class Waker:
    """`wake` and `wait`, for any number of threads.

    A wake-up counts for every thread: each remembers what it has seen. One that comes while a thread is busy ends its
    next `wait` at once.
    """

    def __init__(self, bus: Bus | None = None) -> None:
        self._bus = bus
        self._sender = uuid4().bytes
        self._news = threading.Condition()
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._seen = threading.local()
        # What is being told, and whether there was more of it meanwhile.
        self._outgoing: dict[str, bool] = {}
        self._listening = False
        if bus is not None:
            bus.on_connection(self._listen)

    def wake(self, what: str) -> None:
        """There is something new in `what`: `log`, `work`. Returns at once."""
        self.wake_here(what)
        if self._bus is None or not self._bus.connected:
            return
        with self._news:
            begun = what in self._outgoing
            self._outgoing[what] = begun
        if not begun:
            with suppress(RuntimeError):  # the bus is closed
                self._bus.start(self._tell(what))

    def wake_here(self, what: str) -> None:
        """The same for the threads of this process only."""
        with self._news:
            self._counts[what] += 1
            self._news.notify_all()

    def wait(self, what: str, seconds: float) -> bool:
        """Wait until there is something new in `what` since this thread last waited for it; False after `seconds`."""
        seen: dict[str, int] = self._seen.__dict__
        with self._news:
            news = self._news.wait_for(lambda: self._counts[what] != seen.get(what, 0), seconds)
            seen[what] = self._counts[what]
        return news

    async def _listen(self) -> None:
        if not self._listening and self._bus is not None:  # the client takes it up again by itself
            self._listening = True
            await self._bus.subscribe(subjects.WAKES, self._hear)

    async def _hear(self, message: Msg) -> None:
        if message.data != self._sender:
            self.wake_here(message.subject.rpartition(".")[2])

    async def _tell(self, what: str) -> None:
        assert self._bus is not None
        again = True
        while again:
            with suppress(*AWAY):
                await self._bus.client.publish(subjects.wake(what), self._sender)
            await asyncio.sleep(QUIET_SECONDS)
            with self._news:
                again = self._outgoing.pop(what)
                if again:
                    self._outgoing[what] = False
