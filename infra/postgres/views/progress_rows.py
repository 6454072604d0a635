"""Progress in PostgreSQL: its rows for the projector, and what readers ask of it."""

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from psycopg import Connection

from haulage.domain.event import Recorded
from haulage.domain.operation import OperationRequested
from haulage.domain.status import ENDS, Status
from haulage.infra.postgres.views.rows import Row, Table
from haulage.projections.pace import Pace
from haulage.projections.progress import Progress, Views

TABLE = Table(
    "progress",
    key=("operation",),
    columns={
        "operation": "uuid",
        "tenant": "text",
        "kind": "text",
        "actor": "text",
        "definition_version": "integer",
        "priority": "integer",
        "requested_at": "timestamptz",
        "updated_at": "timestamptz",
        "position": "bigint",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "status": "text",
        "steps": "jsonb",
        "step": "text",
        "total": "bigint",
        "succeeded": "bigint",
        "skipped": "bigint",
        "rejected": "bigint",
        "chunks": "bigint",
        "failed_attempts": "bigint",
        "splits": "bigint",
        "applied": "bigint",
        "compensated": "bigint",
        "conflicting": "bigint",
        "error_code": "text",
        "error": "text",
        "working_since": "timestamptz",
        "working_seconds": "double precision",
        "pace": "jsonb",
    },
)

PageKey = tuple[datetime, UUID]
"""Where a page of the list ends: `requested_at` and `operation` of its last entry."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which operations to list; None and empty mean all. `requested_from` is included, `requested_before` is not."""

    tenant: str | None = None
    kind: str | None = None
    statuses: Collection[Status] = ()
    requested_from: datetime | None = None
    requested_before: datetime | None = None


# -- for the projector -------------------------------------------------------------------------------------------------
def load(connection: Connection[Any], events: Sequence[Recorded]) -> Views:
    """The rows that folding `events` will look for; none of operations that begin in them."""
    begun = {e.context.operation for e in events if type(e.event) is OperationRequested}
    operations = {e.context.operation for e in events} - begun
    return {found.operation: found for found in _by_operation(connection, operations)}


def save(connection: Connection[Any], views: Views, known: Set[UUID]) -> None:
    """Write the rows; those whose key is in `known` were loaded."""
    TABLE.insert(connection, [_row(view) for key, view in views.items() if key not in known])
    TABLE.update(connection, [_row(view) for key, view in views.items() if key in known])


# -- for readers -------------------------------------------------------------------------------------------------------
def progress(connection: Connection[Any], operation: UUID) -> Progress | None:
    """The progress of one operation; None for one that the view does not know, or not yet."""
    found = _by_operation(connection, [operation])
    return found[0] if found else None


def operations(
    connection: Connection[Any], filters: Filters = Filters(), after: PageKey | None = None, limit: int = 50
) -> list[Progress]:
    """One page of the list, newest first. The next one comes `after` the `page_key` of the last entry."""
    clauses = [
        ("t.tenant = %(tenant)s", filters.tenant),
        ("t.kind = %(kind)s", filters.kind),
        ("t.status = any(%(statuses)s)", filters.statuses),
        ("t.requested_at >= %(from)s", filters.requested_from),
        ("t.requested_at < %(before)s", filters.requested_before),
        ("(t.requested_at, t.operation) < (%(at)s, %(operation)s)", after),
        # Said once more, for the index of operations that have not ended.
        ("t.ended_at is null", filters.statuses and not ENDS & set(filters.statuses)),
    ]
    where = " and ".join(["true", *(clause for clause, wanted in clauses if wanted)])
    values = {
        "tenant": filters.tenant,
        "kind": filters.kind,
        "statuses": [status.value for status in filters.statuses],
        "from": filters.requested_from,
        "before": filters.requested_before,
        "at": after[0] if after else None,
        "operation": after[1] if after else None,
        "limit": limit,
    }
    clause = f"where {where} order by t.requested_at desc, t.operation desc limit %(limit)s"
    return [_progress(row) for row in TABLE.select(connection, clause, values)]


def page_key(progress: Progress) -> PageKey:
    """Where a page that ends with this entry ends."""
    return progress.requested_at, progress.operation


def changed_since(connection: Connection[Any], position: int, limit: int = 1000) -> list[Progress]:
    """Operations whose progress took in an event after `position`, in the order of their last one.

    The next call gives the position of the last of them; what changed between the calls is found again, as it is then.
    """
    clause = "where t.position > %(position)s order by t.position limit %(limit)s"
    return [_progress(row) for row in TABLE.select(connection, clause, {"position": position, "limit": limit})]


def _by_operation(connection: Connection[Any], operations: Collection[UUID]) -> list[Progress]:
    if not operations:
        return []
    clause = "where t.operation = any(%(operations)s)"
    return [_progress(row) for row in TABLE.select(connection, clause, {"operations": list(operations)})]


# -- rows --------------------------------------------------------------------------------------------------------------
_values = attrgetter(*TABLE.columns)
_STATUS, _STEPS, _PACE = (list(TABLE.columns).index(name) for name in ("status", "steps", "pace"))


def _row(progress: Progress) -> Row:
    row = list(_values(progress))
    row[_STATUS] = progress.status.value
    row[_STEPS] = orjson.dumps(progress.steps).decode()
    row[_PACE] = orjson.dumps(progress.pace).decode()
    return tuple(row)


def _progress(row: Row) -> Progress:
    values = dict(zip(TABLE.columns, row, strict=True))
    values |= {
        "status": Status(values["status"]),
        "steps": tuple(values["steps"]),
        "pace": Pace(**values["pace"]),
    }
    return Progress(**values)
