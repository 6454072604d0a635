"""The query service: questions about operations, answered from the views and the log. Nothing here changes anything.

`haulage.v1.query.<tenant>.<actor>.<verb>`; the body is one of the models below as JSON, the answer
`{"ok": true, "answer": …}` or `{"ok": false, "code": …, "message": …}`. Who asks sees the tenant of the subject only.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import orjson
import structlog
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig
from pydantic import BaseModel, ConfigDict, Field

from haulage.domain.errors import HaulageError
from haulage.domain.identity import Token
from haulage.domain.status import Status
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.failures import AWAY
from haulage.infra.nats.messages import MessageError, is_inbox, parse, trace_of
from haulage.infra.nats.version import version

THREADS = 4
WAITING_LIMIT = 1024

_log = structlog.get_logger("haulage.bus")

Position = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
"""A position as a decimal string; "0" is before the first event."""


class Query(BaseModel):
    """What all questions have in common: nothing but their strictness."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ShowQuery(Query):
    """How far is this operation, and what was asked for?"""

    operation: UUID


class ListQuery(Query):
    """Which operations are there, newest first? The next page comes `after` the last operation of this one."""

    kind: Token | None = None
    statuses: tuple[Status, ...] = ()
    after: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class HistoryQuery(Query):
    """What happened to this operation (its own events, not those of its chunks), oldest first?"""

    operation: UUID
    after: Position = "0"
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class ItemQuery(Query):
    """What became of this item, in each step? `ordinal` counts from 1."""

    operation: UUID
    ordinal: Annotated[int, Field(ge=1)]


class EventsQuery(Query):
    """Which events of the tenant come after this position, in the order of the log?"""

    after: Position = "0"
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


QUERIES: dict[str, type[Query]] = {
    "show": ShowQuery,
    "list": ListQuery,
    "history": HistoryQuery,
    "item": ItemQuery,
    "events": EventsQuery,
}
"""The last token of a question's subject, and the question in its body."""

Answers = Mapping[str, Callable[[str, Any], Any]]
"""By verb, what answers: called in a thread with the tenant and the question, gives what `orjson.dumps` takes."""


class QueryService:
    """Answers questions; services in several processes share them."""

    def __init__(self, bus: Bus, answers: Answers, *, threads: int = THREADS) -> None:
        self._bus = bus
        self._answers = answers
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="queries")
        self._waiting = 0
        self._service: Service | None = None
        self._begun = False

    def start(self) -> None:
        """Begin to answer: at once, or when NATS is there. Taken up again after each loss of it."""
        self._bus.on_connection(self._subscribe)

    def stop(self) -> None:
        """Answer no more. A repeat does nothing."""
        with suppress(*AWAY, RuntimeError):
            self._bus.call(self._unsubscribe(), 5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _subscribe(self) -> None:
        if self._begun:
            return
        self._begun = True
        config = ServiceConfig(name="haulage-queries", version=version(), queue_group="haulage")
        service = Service(self._bus.client, config)
        with suppress(*AWAY):  # it waits for a round trip; the rest is done without
            await service.start()
        await service.add_endpoint(EndpointConfig("query", self._take, subject=subjects.QUERIES))
        self._service = service

    async def _unsubscribe(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.stop()

    async def _take(self, request: Request) -> None:
        # Answered as a task, so that a slow answer holds nobody up.
        if self._waiting >= WAITING_LIMIT:
            return await self._respond(request, _failure("busy", "Too many questions are waiting. Ask again."))
        self._waiting += 1
        self._bus.spawn(self._ask(request), "query")
        return None

    async def _ask(self, request: Request) -> None:
        try:
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, request)
            await self._respond(request, await work)
        finally:
            self._waiting -= 1

    def _answer(self, request: Request) -> bytes:
        try:
            address = subjects.parse_address(request.subject)
            query = QUERIES.get(address.verb)
            if query is None or address.verb not in self._answers:
                raise MessageError(f"there is no question `{address.verb}`; the questions are: {', '.join(QUERIES)}")
            answer = self._answers[address.verb](address.tenant, parse(query, request.data or b"{}"))
            body = orjson.dumps({"ok": True, "answer": answer})
        except HaulageError as error:
            return _failure(error.code, str(error))
        except Exception as error:  # noqa: BLE001 - the service goes on whatever a question does to it
            _log.error("a question could not be answered", subject=request.subject, exc_info=error)
            return _failure("error", "The question could not be answered; the log of Haulage says why.")
        if not self._bus.fits(trace_of(request.headers), body):
            most = self._bus.client.max_payload
            return _failure("too_large", f"The answer has {len(body):,} bytes, more than NATS takes ({most:,}).")
        return body

    async def _respond(self, request: Request, body: bytes) -> None:
        if is_inbox(request._msg.reply):
            with suppress(*AWAY):  # who gets no answer asks again
                await request.respond(body, trace_of(request.headers))


def _failure(code: str, message: str) -> bytes:
    return orjson.dumps({"ok": False, "code": code, "message": message})
