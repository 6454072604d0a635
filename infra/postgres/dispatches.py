"""The process manager's memory, one row an operation that has not ended."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.types.json import Jsonb

from haulage.domain.ports import SavedDispatch


def save(connection: Connection[Any], dispatches: Sequence[SavedDispatch]) -> None:
    """Insert or replace, one statement."""
    if dispatches:
        connection.execute(
            """insert into haulage.dispatch (operation, state, due)
            select * from unnest(%s::uuid[], %s::jsonb[], %s::bool[])
            on conflict (operation) do update set state = excluded.state, due = excluded.due""",
            ([d.operation for d in dispatches], [Jsonb(d.state) for d in dispatches], [d.due for d in dispatches]),
        )


def drop(connection: Connection[Any], operations: Sequence[UUID]) -> None:
    """Forget."""
    if operations:
        connection.execute("delete from haulage.dispatch where operation = any(%s)", (list(operations),))


def load(connection: Connection[Any], operations: Sequence[UUID]) -> dict[UUID, SavedDispatch]:
    """Those that exist."""
    if not operations:
        return {}
    rows = connection.execute(
        "select operation, state, due from haulage.dispatch where operation = any(%s)", (list(operations),)
    ).fetchall()
    return {row[0]: SavedDispatch(*row) for row in rows}


def due(connection: Connection[Any]) -> list[SavedDispatch]:
    """Those to be looked at although no event is new."""
    rows = connection.execute("select operation, state, due from haulage.dispatch where due").fetchall()
    return [SavedDispatch(*row) for row in rows]
