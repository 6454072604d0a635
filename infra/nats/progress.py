"""Progress on the bus: on a subject for those who watch, and in a bucket for those who come later.

At most `PER_SECOND` messages a second for one operation, and always the last one.

Crash story. What is on the bus is a copy of the view, which is a copy of the log.
1. Died, or lost NATS, before the last progress went out; or NATS came back with an older bucket: at the start and
   after each connection, what `recent` gives is published again.
2. NATS is away: of each operation the newest waits, and goes out when NATS is back.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import POSITION, SOURCE, cloud_event
from haulage.infra.nats.streams import PROGRESS_BUCKET, Streams
from haulage.projections.document import document
from haulage.projections.progress import Progress

PER_SECOND = 4
ACK_SECONDS = 5.0
GROUP = 500
"""Operations whose progress is sent before acknowledgements are awaited."""
REMEMBERED = 50_000
"""Operations whose last position is remembered, so that nothing older than what was sent is sent."""


@dataclass(frozen=True, slots=True)
class _View:
    """A progress as it was when it was offered: the projection goes on changing its own."""

    key: str
    subject: str
    position: int
    headers: dict[str, str]
    body: bytes


class ProgressPublisher:
    """`offer` what changed, from any thread; `run_once` sends what is due.

    `recent` gives the progress of all unfinished operations and of those that ended lately.
    """

    def __init__(
        self,
        bus: Bus,
        kept: Streams,
        recent: Callable[[], Iterable[Progress]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._kept = kept
        self._recent = recent
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, _View] = OrderedDict()
        # When, and up to which position, each operation's progress was sent last.
        self._sent: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._connections = 0

    def offer(self, changed: Iterable[Progress]) -> None:
        """Have these published. Of one operation only the newest counts."""
        for progress in changed:
            self._offer(_view(progress))

    def run_once(self) -> int:
        """How many operations' progress was sent. Raises what `recent` raises, and NotReachableError."""
        if not self._bus.connected:
            return 0
        if self._connections != self._bus.connections:
            now_on = self._bus.connections
            recent = [_view(progress) for progress in self._recent()]
            with self._lock:
                self._sent.clear()
            for view in recent:
                self._offer(view)
            self._connections = now_on
        due = self._take_due()
        if not due:
            return 0
        with self._bus.reaching("publishing progress"):
            try:
                self._bus.call(self._publish(due))
            except BaseException:
                for view in due:
                    self._offer(view)
                raise
        return len(due)

    def _offer(self, view: _View) -> None:
        with self._lock:
            waiting = self._waiting.get(view.key)
            _, sent = self._sent.get(view.key, (0.0, -1))
            if view.position > max(sent, waiting.position if waiting else -1):
                self._waiting[view.key] = view

    def _take_due(self) -> list[_View]:
        now = self._clock()
        with self._lock:
            due: list[_View] = []
            for key, view in self._waiting.items():
                at, _ = self._sent.get(key, (float("-inf"), -1))
                if now - at >= 1 / PER_SECOND and len(due) < GROUP:
                    due.append(view)
            for view in due:
                del self._waiting[view.key]
            return due

    async def _publish(self, views: list[_View]) -> None:
        client, jetstream = self._bus.client, self._bus.jetstream
        acknowledged = []
        for view in views:
            await client.publish_clean(view.subject, view.body, view.headers)
            acknowledged.append(await jetstream.publish_async(f"$KV.{PROGRESS_BUCKET}.{view.key}", view.body))
        # On a time-out the library's futures are cancelled, too, which gives back their places in its queue.
        async with asyncio.timeout(ACK_SECONDS):
            answers = await asyncio.gather(*acknowledged, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                await self._kept.ensure()
                raise answer
        now = self._clock()
        with self._lock:
            for view in views:
                self._sent[view.key] = now, view.position
                self._sent.move_to_end(view.key)
            while len(self._sent) > REMEMBERED:
                self._sent.popitem(last=False)


def _view(progress: Progress) -> _View:
    tenant, operation = progress.tenant, progress.operation
    headers = cloud_event(
        f"{operation}/{progress.position}",
        "progress.v1",
        f"{SOURCE}/{tenant}/{progress.kind}",
        operation,
        progress.updated_at,
    )
    return _View(
        key=subjects.progress_key(tenant, operation),
        subject=subjects.progress(tenant, operation),
        position=progress.position,
        headers=headers | {POSITION: str(progress.position)},
        body=orjson.dumps(document(progress)),
    )
