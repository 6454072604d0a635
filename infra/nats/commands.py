"""The command service: takes commands by request, handles them in groups, answers after the commit.

While a group is being handled the next one gathers, so groups are as large as the load makes them, and a single
command is handled at once.

Crash story.
1. Died, or lost NATS, before an answer went out: the sender hears nothing and repeats, with the same command id; the
   receipt in the database answers it.
2. More commands than can wait: the newest are answered `busy` at once; nothing that was taken is dropped.
3. Bytes that are no command: answered `invalid`, with the field; nobody else notices.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from haulage.domain.errors import RefusedError
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.failures import AWAY
from haulage.infra.nats.groups import GROUP_LIMIT, Handler, handled
from haulage.infra.nats.messages import Received, Reply, is_inbox, received, refusal, trace_of
from haulage.infra.nats.version import version

WAITING_LIMIT = 8192
WAITING_BYTES = 64 * 1024 * 1024
GROUP_BYTES = 8 * 1024 * 1024

_BUSY = Reply(ok=False, code="busy", message="Too many commands are waiting. Send this one again, with the same id.")


class CommandService:
    """Answers commands on `haulage.v1.command.<tenant>.<actor>.<verb>`; services in several processes share them.

    `handle` is called with valid commands only, in at most `lanes` threads at a time.
    """

    def __init__(self, bus: Bus, handle: Handler, *, lanes: int = 1) -> None:
        self._bus = bus
        self._handle = handle
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="commands")
        self._lanes = lanes
        self._waiting: deque[tuple[Received, Request]] = deque()
        self._waiting_bytes = 0
        self._in_hand = 0
        self._news = asyncio.Event()
        self._service: Service | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take commands: at once, or when NATS is there. Taken up again after each loss of it."""
        self._bus.on_connection(self._subscribe)

    def stop(self, seconds: float = 10.0) -> None:
        """Take no more, answer what was taken (for at most so long). A repeat does nothing."""
        with suppress(*AWAY, RuntimeError):
            self._bus.call(self._drain(seconds), seconds + 5)
        self._threads.shutdown(wait=False)

    async def _subscribe(self) -> None:
        if self._tasks:  # only once: the client takes subscriptions up again by itself
            return
        self._tasks = [asyncio.create_task(self._run(), name=f"commands-{lane}") for lane in range(self._lanes)]
        config = ServiceConfig(name="haulage-commands", version=version(), queue_group="haulage")
        self._service = Service(self._bus.client, config)
        with suppress(
            *AWAY
        ):  # it waits for a round trip; should the connection break now, the rest is done all the same
            await self._service.start()
        await self._service.add_endpoint(EndpointConfig("command", self._take, subject=subjects.COMMANDS))

    async def _take(self, request: Request) -> None:
        try:
            command = received(subjects.parse_address(request.subject), request.data, request.headers)
            _ = command.command
        except RefusedError as error:
            return await self._answer(request, refusal(error))
        if len(self._waiting) >= WAITING_LIMIT or self._waiting_bytes + len(command.body) > WAITING_BYTES:
            return await self._answer(request, _BUSY)
        self._waiting.append((command, request))
        self._waiting_bytes += len(command.body)
        self._news.set()
        return None

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            group = self._next_group()
            self._in_hand += 1
            try:
                work = partial(handled, self._handle, [command for command, _ in group])
                replies = await asyncio.get_running_loop().run_in_executor(self._threads, work)
                for (_, request), reply in zip(group, replies, strict=True):
                    await self._answer(request, reply)
            finally:
                self._in_hand -= 1

    def _next_group(self) -> Sequence[tuple[Received, Request]]:
        group: list[tuple[Received, Request]] = []
        size = 0
        while self._waiting and len(group) < GROUP_LIMIT and size < GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1][0].body)
        self._waiting_bytes -= size
        return group

    async def _answer(self, request: Request, reply: Reply) -> None:
        # The reply subject is not among what nats-py's Request shows.
        if not is_inbox(request._msg.reply):
            return
        with suppress(*AWAY):  # who gets no answer asks again
            await request.respond(reply.to_json(), trace_of(request.headers))

    async def _drain(self, seconds: float) -> None:
        service, self._service = self._service, None
        if service is not None:
            with suppress(*AWAY):
                await asyncio.wait_for(service.stop(), 2)
        deadline = asyncio.get_running_loop().time() + seconds
        while (self._waiting or self._in_hand) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
