"""The timeline in PostgreSQL: its rows for the projector, and the timeline of one operation for readers."""

from collections.abc import Sequence, Set
from typing import Any
from uuid import UUID

import orjson
from psycopg import Connection

from haulage.domain.chunk import ChunkEvent
from haulage.domain.event import Recorded
from haulage.domain.operation import OperationRequested
from haulage.infra.postgres.views.rows import Row, Table
from haulage.projections.timeline import Entry, Key, Views

TABLE = Table(
    "timeline",
    key=("operation", "position"),
    columns={
        "operation": "uuid",
        "topic": "text",
        "step": "text",
        "position": "bigint",
        "at": "timestamptz",
        "actor": "text",
        "last_position": "bigint",
        "last_at": "timestamptz",
        "condensed": "boolean",
        "events": "bigint",
        "detail": "jsonb",
    },
)


# -- for the projector -------------------------------------------------------------------------------------------------
def load(connection: Connection[Any], events: Sequence[Recorded]) -> Views:
    """The rows that folding `events` will look for: condensed ones of operations that did not begin in them."""
    begun = {e.context.operation for e in events if type(e.event) is OperationRequested}
    operations = {e.context.operation for e in events if isinstance(e.event, ChunkEvent)} - begun
    if not operations:
        return {}
    clause = "where t.condensed and t.operation = any(%(operations)s)"
    entries = [Entry(*row) for row in TABLE.select(connection, clause, {"operations": list(operations)})]
    return {entry.key: entry for entry in entries}


def save(connection: Connection[Any], views: Views, known: Set[Key]) -> None:
    """Write the rows; those whose key is in `known` were loaded."""
    TABLE.insert(connection, [_row(entry) for key, entry in views.items() if key not in known])
    TABLE.update(connection, [_row(entry) for key, entry in views.items() if key in known])


# -- for readers -------------------------------------------------------------------------------------------------------
def timeline(connection: Connection[Any], operation: UUID) -> list[Entry]:
    """What happened to an operation, oldest first; empty for one that the view does not know, or not yet.

    A few dozen entries; people asking for pauses again and again make it more.
    """
    clause = "where t.operation = %(operation)s order by t.position"
    return [Entry(*row) for row in TABLE.select(connection, clause, {"operation": operation})]


def _row(entry: Entry) -> Row:
    return (
        entry.operation,
        entry.topic,
        entry.step,
        entry.position,
        entry.at,
        entry.actor,
        entry.last_position,
        entry.last_at,
        entry.condensed,
        entry.events,
        orjson.dumps(entry.detail).decode(),
    )
