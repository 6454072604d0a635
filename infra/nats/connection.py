"""The connection to NATS: one event loop in one thread per process, one connection on it, for all threads.

    with Bus(url) as bus:                 # NotReachableError where there is no server
        bus.call(bus.client.publish(…))   # from any thread: run on the bus's loop, wait, give the result

Crash story.
1. NATS goes away, for however long: the client tries again for ever, and takes its subscriptions up again. What was
   published meanwhile waits in a buffer of limited size, then fails; nothing here is the record.
2. NATS comes back without its streams, or with older ones: `on_connection` lets each component look after its own.
3. A subscriber is slower than its messages: what does not fit is dropped and counted (`dropped`), and the other
   subscriptions go on.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import SlowConsumerError
from nats.js import JetStreamContext

from haulage.domain.errors import NotReachableError
from haulage.infra.nats.failures import AWAY, reason
from haulage.infra.nats.lasting_client import RETRY_SECONDS, LastingClient
from haulage.infra.nats.urls import Target, target

PENDING_MESSAGES = 65_536
PENDING_BYTES = 64 * 1024 * 1024
BUFFER_BYTES = 8 * 1024 * 1024
"""What may be published while there is no connection."""

Result = TypeVar("Result")
Callback = Callable[[Msg], Awaitable[None]]

_log = structlog.get_logger("haulage.bus")


class Bus:
    """The connection of a process to NATS. `url` may hold credentials; they appear in no message, log or repr.

    `name` is shown in the server's own monitoring. `inbox_prefix` is where answers to us go, for servers whose
    permissions give each user an inbox of their own.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "haulage",
        token: str | None = None,
        credentials: Path | None = None,
        inbox_prefix: str = "_INBOX",
    ) -> None:
        self._target: Target = target(url, token=token, credentials=credentials)
        self._name = name
        self._inbox_prefix = inbox_prefix
        self._client = LastingClient()
        self._jetstream = JetStreamContext(self._client)
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._callbacks: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused = asyncio.Event()
        self._dropped: Counter[str] = Counter()
        self.connections = 0
        """How often a connection was made: once at the start, and again after each loss."""
        self.trouble: str | None = None
        """What the last failure was; None while all is well."""

    def __repr__(self) -> str:
        return f"<Bus {self._target.shown} {'connected' if self.connected else 'not connected'}>"

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, patience_seconds: float | None = 3.0) -> Self:
        """Connect, trying for up to `patience_seconds`; NotReachableError after that.

        With None it returns at once and connects whenever it can: for processes that have work to do without a bus.
        """
        login = self._target.login()
        self._thread = threading.Thread(target=self._run_loop, name="bus", daemon=True)
        self._thread.start()
        connecting = self.start(self._connect(login))
        if patience_seconds is None:
            return self
        try:
            self.call(self._first_connection(connecting, patience_seconds), patience_seconds + 5)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let what is in hand go out, then disconnect. A repeat does nothing."""
        if self._thread is None:
            return
        with suppress(Exception):
            self.call(self._disconnect(), 10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._thread = None

    # -- for all threads

    @property
    def client(self) -> LastingClient:
        """nats-py's client, for coroutines on the bus's loop."""
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """Its JetStream side."""
        return self._jetstream

    @property
    def connected(self) -> bool:
        """Whether there is a connection just now."""
        return bool(self._client.is_connected)

    @property
    def where(self) -> str:
        """The servers' addresses, without credentials."""
        return self._target.shown

    @property
    def dropped(self) -> int:
        """Messages that were dropped here because their subscriber was too slow."""
        return sum(self._dropped.values())

    def dropped_by_subject(self) -> dict[str, int]:
        """The same, by what was subscribed to."""
        return dict(self._dropped)

    def call(self, coroutine: Coroutine[Any, Any, Result], timeout_seconds: float = 30.0) -> Result:
        """Run `coroutine` on the bus's loop and wait for what it gives or raises; TimeoutError after the time given."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the bus can't wait for itself: use `await`")
        future = self.start(coroutine)
        try:
            return future.result(timeout_seconds)
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Run `coroutine` on the bus's loop without waiting. RuntimeError where the bus is not open."""
        if self._thread is None:
            coroutine.close()
            raise RuntimeError("the bus is not open")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def on_connection(self, callback: Callable[[], Coroutine[Any, Any, None]], *, now: bool = True) -> None:
        """Run `callback` on the loop after each connection that is made, and `now` if there is one. It may fail."""
        self._callbacks.append(callback)
        if now and self.connected:
            self._loop.call_soon_threadsafe(self._begin, callback)

    def ready(self, doing: str) -> bool:
        """Whether there is a connection; False while the first one is being made, NotReachableError after a failure."""
        if not self.connected and self.trouble is not None:
            raise NotReachableError(f"NATS at {self.where} can't be reached while {doing}: {self.trouble}.")
        return self.connected

    @contextmanager
    def reaching(self, doing: str) -> Iterator[None]:
        """Turn nats-py's errors into NotReachableError; `doing` is what was to be done, such as `sending a command`."""
        try:
            yield
        except AWAY as error:
            raise self.unreachable(error, doing) from error

    def unreachable(self, error: BaseException, doing: str = "") -> NotReachableError:
        """`error` as a sentence."""
        during = f" while {doing}" if doing else ""
        return NotReachableError(f"NATS at {self.where} can't be reached{during}: {self._said(error)}.")

    def fits(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the server takes a message of this size. For a larger one it closes the connection."""
        head = sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) + 12
        return len(body) + head <= self._client.max_payload

    # -- for coroutines on the loop

    async def subscribe(
        self,
        subject: str,
        callback: Callback | None = None,
        *,
        queue: str = "",
        pending_messages: int = PENDING_MESSAGES,
        pending_bytes: int = PENDING_BYTES,
    ) -> Subscription:
        """Subscribe; what waits for a slow `callback` is limited, and what exceeds the limits dropped and counted."""
        return await self._client.subscribe(
            subject, queue, callback, pending_msgs_limit=pending_messages, pending_bytes_limit=pending_bytes
        )

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run `coroutine` as a task of its own; what it raises is logged."""
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._ended)

    # -- the loop's own

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _connect(self, login: Mapping[str, Any]) -> None:
        await self._client.connect(
            servers=list(self._target.servers),
            name=self._name,
            **login,
            inbox_prefix=self._inbox_prefix,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_connected,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RETRY_SECONDS,  # type: ignore[arg-type]  # seconds, and not only whole ones
            connect_timeout=2,
            # A peer that is gone without a word is noticed within half a minute, not within six.
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=BUFFER_BYTES,
            # Without it, a publisher that waits for a full buffer waits for ever when the connection breaks.
            flush_timeout=5,
        )
        await self._on_connected()

    async def _first_connection(self, connecting: "Future[None]", patience_seconds: float) -> None:
        connected = asyncio.wrap_future(connecting)
        refused = asyncio.ensure_future(self._refused.wait())
        either: set[asyncio.Future[Any]] = {connected, refused}
        await asyncio.wait(either, timeout=patience_seconds, return_when=asyncio.FIRST_COMPLETED)
        refused.cancel()
        if connected.done():
            return connected.result()
        connected.cancel()
        trouble = self.trouble or "it does not answer"
        hint = "the user and password or token" if self._refused.is_set() else "that it runs, and the URL"
        raise NotReachableError(f"NATS at {self.where} can't be reached: {trouble}. Check {hint} (HAULAGE_NATS_URL).")

    async def _disconnect(self) -> None:
        with suppress(*AWAY, asyncio.CancelledError):
            if self.connected:
                # Not `drain`: it waits for pull subscriptions to be read to the end, which nobody will do any more.
                await self._client.flush(timeout=3)
        with suppress(*AWAY):
            await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _on_connected(self) -> None:
        self._refused.clear()
        self.connections += 1
        if self.trouble:
            _log.info("connected", servers=self.where)
        self.trouble = None
        for callback in self._callbacks:
            self._begin(callback)

    async def _on_disconnected(self) -> None:
        if self.trouble is None and not self._client.is_closed:
            self.trouble = "the connection was lost"
            _log.warning("not connected", servers=self.where)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            subject = error.sub.subject
            self._dropped[subject] += 1
            if self._dropped[subject] % 1000 == 1:
                _log.warning("a slow subscriber loses messages", subject=subject, dropped=self._dropped[subject])
            return
        said = self._said(error)
        refused = "authorization" in str(error).lower()
        # A server that refuses us also closes the connection, which is another error, and sometimes the later one.
        if not self.connected and (refused or not self._refused.is_set()):
            self.trouble = said
        if refused:
            self._refused.set()
        _log.debug("error", said=said)

    def _begin(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.spawn(callback(), callback.__qualname__)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.warning("failed", what=task.get_name(), why=self._said(error))

    def _said(self, error: BaseException) -> str:
        return self._target.without_secrets(reason(error))
