"""What the query service answers, from the views and the log. A tenant sees its own operations; of others, that there
is no such operation."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson
from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.domain.event import Recorded
from haulage.domain.ports import Request
from haulage.infra.nats.events import document as event_document
from haulage.infra.nats.queries import Answers, EventsQuery, HistoryQuery, ItemQuery, ListQuery, ShowQuery
from haulage.infra.postgres import requests, views
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.projections import progress
from haulage.projections.document import document
from haulage.projections.ledger import ItemOutcome

READ_EVENTS = 2_000
"""Events of the log looked at for one page: those of other tenants are among them."""
PAGE_BYTES = 512 * 1024
"""A page ends before it is larger than this: the usual limit of a NATS message is 1 MiB."""


class Reader:
    """Answers questions. May be used by any number of threads."""

    def __init__(self, database: Database, log: PostgresLog) -> None:
        self._database = database
        self._log = log

    def answers(self) -> Answers:
        """For `QueryService`."""
        return {
            "show": self.show,
            "list": self.list,
            "history": self.history,
            "item": self.item,
            "events": self.events,
        }

    def show(self, tenant: str, query: ShowQuery) -> dict[str, Any]:
        """The progress document, with key, parameters and input as they were asked for."""
        with self._database.connection() as connection:
            request = _request(connection, tenant, query.operation)
            found = views.progress(connection, query.operation) or self._from_log(connection, query.operation)
        asked = {"key": request.key, "parameters": request.parameters, "input": request.input}
        return document(found) | asked

    def list(self, tenant: str, query: ListQuery) -> dict[str, Any]:
        """`operations` (progress documents, newest first), and `next`: what comes after them, null at the end."""
        with self._database.connection() as connection:
            filters = views.Filters(tenant, query.kind, query.statuses)
            found = views.operations(connection, filters, _page_key(connection, tenant, query.after), query.limit)
        more = found[-1].operation if len(found) == query.limit else None
        return {"operations": [document(one) for one in found], "next": more}

    def history(self, tenant: str, query: HistoryQuery) -> dict[str, Any]:
        """`events` of the operation's own stream, and `next`: the position to go on after, null at the end."""
        with self._database.connection() as connection:
            _request(connection, tenant, query.operation)
            recorded = self._log.stream(connection, query.operation)
        left = [one for one in recorded if one.position > int(query.after)]
        page = _page(left[: query.limit])
        return {"events": page, "next": page[-1]["position"] if len(page) < len(left) else None}

    def item(self, tenant: str, query: ItemQuery) -> dict[str, Any]:
        """`outcomes`, one for each step that had the item; none before the first."""
        with self._database.connection() as connection:
            _request(connection, tenant, query.operation)
            found = views.ledger_item(connection, query.operation, query.ordinal)
        return {"operation": query.operation, "ordinal": query.ordinal, "outcomes": [_outcome(one) for one in found]}

    def events(self, tenant: str, query: EventsQuery) -> dict[str, Any]:
        """`events` of the tenant in the order of the log; `next`: the position to go on after; `end`: nothing more now.

        `epoch` is the history's: when it changes, a restored log goes on, and what was seen may not be all there.
        """
        with self._database.connection() as connection:
            recorded = self._log.read(connection, int(query.after), READ_EVENTS, 4 * PAGE_BYTES)
            epoch = str(self._log.epoch(connection))
        own = [one for one in recorded if one.context.tenant == tenant]
        page = _page(own[: query.limit])
        whole = len(page) == len(own)
        # Behind the last one looked at, so that a long stretch of others' events is walked through once.
        after = str(recorded[-1].position) if whole and recorded else page[-1]["position"] if page else query.after
        return {"events": page, "next": after, "end": not recorded, "epoch": epoch}

    def _from_log(self, connection: Connection[Any], operation: UUID) -> progress.Progress:
        """As far as the operation's own events tell, where the view has not got to it yet."""
        found: progress.Views = {}
        for recorded in self._log.stream(connection, operation):
            progress.fold(found, recorded)
        if operation not in found:
            raise _not_found(operation)
        return found[operation]


def _page(recorded: Iterable[Recorded]) -> Sequence[dict[str, Any]]:
    """As many as fit, but at least one."""
    page: list[dict[str, Any]] = []
    size = 0
    for one in recorded:
        made = event_document(one)
        size += len(orjson.dumps(made))
        if page and size > PAGE_BYTES:
            break
        page.append(made)
    return page


def _request(connection: Connection[Any], tenant: str, operation: UUID) -> Request:
    request = requests.request(connection, operation)
    if request.tenant != tenant:
        raise _not_found(operation)
    return request


def _page_key(connection: Connection[Any], tenant: str, after: UUID | None) -> views.PageKey | None:
    if after is None:
        return None
    found = views.progress(connection, after)
    if found is None or found.tenant != tenant:
        raise _not_found(after)
    return views.page_key(found)


def _outcome(found: ItemOutcome) -> dict[str, Any]:
    chunk, outcome = found.chunk, found.outcome
    return {
        "step": found.step,
        "outcome": outcome.kind,
        "code": outcome.code or None,
        "field": outcome.field,
        "undone": found.undone,
        "left": found.left,
        "chunk": {"first": chunk.first, "last": chunk.last, "attempt": chunk.attempt},
        "position": str(chunk.position),
        "at": chunk.at,
    }


def _not_found(operation: UUID) -> NotFoundError:
    return NotFoundError(f"there is no operation {operation}")
