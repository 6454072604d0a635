"""The command client: sends a command and waits for its receipt, repeating it as often as that takes.

A command has an id, so a repeat is harmless; and an answer to any of the repeats is the answer.
"""

import asyncio
import time

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from haulage.domain.commands import Command
from haulage.domain.errors import NotReachableError
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.failures import AWAY
from haulage.infra.nats.messages import Headers, MessageError, Reply, command_message

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 5.0
PAUSE_SECONDS = 0.1
"""After a failure that comes at once, such as nobody listening."""


class CommandClient:
    """Sends commands on a bus. May be used by any number of threads."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def request(
        self, tenant: str, actor: str, command: Command, timeout_seconds: float = 30.0, headers: Headers | None = None
    ) -> Reply:
        """The answer to `command`, which was stored before it was given. A refusal is an answer.

        A command that is too large to be sent is a `MessageError`.

        Where there is none in time: the last `busy` or the like, if there was one, else NotReachableError, which says
        whether anybody listens. Whether the command was stored is not known then; sending it again is safe.
        """
        return self._bus.call(self.ask(tenant, actor, command, timeout_seconds, headers), timeout_seconds + 5)

    async def ask(
        self, tenant: str, actor: str, command: Command, timeout_seconds: float = 30.0, headers: Headers | None = None
    ) -> Reply:
        """`request`, for coroutines on the bus's loop."""
        verb, made, body = command_message(command, headers)
        if not self._bus.fits(made, body):
            raise MessageError(
                f"the command has {len(body)} bytes, more than NATS takes ({self._bus.client.max_payload})"
            )
        attempts = _Attempts(self._bus, subjects.command(tenant, actor, verb), made, body)
        try:
            return await attempts.answer(timeout_seconds)
        finally:
            attempts.end()


class _Attempts:
    """Requests for the same thing, of which the first to be answered counts."""

    def __init__(self, bus: Bus, subject: str, headers: dict[str, str], body: bytes) -> None:
        self._bus = bus
        self._message = subject, headers, body
        self._asked: set[asyncio.Task[Msg]] = set()
        self._error: BaseException | None = None
        self._last: Reply | None = None

    async def answer(self, seconds: float) -> Reply:
        deadline, wait = time.monotonic() + seconds, FIRST_WAIT_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            self._ask(left)
            done, self._asked = await asyncio.wait(
                self._asked, timeout=min(wait, left), return_when=asyncio.FIRST_COMPLETED
            )
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            for task in done:
                reply = self._read(task)
                if reply is not None and reply.final:
                    return reply
            if done:
                await asyncio.sleep(min(PAUSE_SECONDS, left))
        if self._last is not None:
            return self._last
        raise self._unanswered(seconds)

    def end(self) -> None:
        for task in self._asked:
            task.cancel()

    def _ask(self, seconds: float) -> None:
        subject, headers, body = self._message
        request = self._bus.client.request(subject, body, timeout=seconds, headers=headers)
        self._asked.add(asyncio.ensure_future(request))

    def _read(self, task: "asyncio.Task[Msg]") -> Reply | None:
        try:
            self._last = Reply.from_json(task.result().data)
        except (*AWAY, MessageError) as error:
            self._error = error
            return None
        return self._last

    def _unanswered(self, seconds: float) -> NotReachableError:
        if isinstance(self._error, NoRespondersError):
            return NotReachableError(
                f"Nobody takes commands on NATS at {self._bus.where}. Start Haulage (`haulage up`), or check that "
                "HAULAGE_NATS_URL is the one it uses."
            )
        why = self._bus.unreachable(self._error) if self._error else f"NATS at {self._bus.where} is silent."
        return NotReachableError(
            f"There was no answer to the command within {seconds:g} seconds. {why} It may have been stored: to send it "
            "again is safe."
        )
