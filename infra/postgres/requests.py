"""What was asked for (haulage.operations) and what was answered (haulage.inbox)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from haulage.domain.errors import ConflictError, NotFoundError
from haulage.domain.ports import Receipt, Request

_COLUMNS = "operation, tenant, kind, definition_version, actor, parameters, input, key, salt"

_ADD_REQUESTS = f"""
insert into haulage.operations ({_COLUMNS})
select * from unnest(
    %s::uuid[], %s::text[], %s::text[], %s::int[], %s::text[], %s::jsonb[], %s::jsonb[], %s::text[], %s::bytea[])
"""  # noqa: S608 - only our own column names are put in


def add_requests(connection: Connection[Any], requests: Sequence[Request]) -> None:
    """Insert; `ConflictError` where an operation, or a key within its tenant, is there already."""
    rows = [
        (
            r.operation,
            r.tenant,
            r.kind,
            r.definition_version,
            r.actor,
            Jsonb(r.parameters),
            Jsonb(r.input) if r.input is not None else None,
            r.key,
            r.salt,
        )
        for r in requests
    ]
    _insert(connection, _ADD_REQUESTS, rows)


def request(connection: Connection[Any], operation: UUID) -> Request:
    """What was asked for; `NotFoundError` for an unknown operation."""
    row = connection.execute(
        f"select {_COLUMNS} from haulage.operations where operation = %s",  # noqa: S608
        (operation,),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"there is no operation {operation}; `haulage list` shows those there are")
    return Request(*row)


def requests_by_key(connection: Connection[Any], keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Request]:
    """Requests by (tenant, key), of those that exist."""
    if not keys:
        return {}
    rows = connection.execute(
        f"""select {_COLUMNS} from haulage.operations
        where (tenant, key) in (select * from unnest(%s::text[], %s::text[]))""",  # noqa: S608
        [list(column) for column in zip(*keys, strict=True)],
    ).fetchall()
    return {(r.tenant, r.key or ""): r for r in (Request(*row) for row in rows)}


def add_receipts(connection: Connection[Any], receipts: Sequence[Receipt]) -> None:
    """Insert; `ConflictError` where a command id is there already."""
    rows = [(r.command_id, r.operation, r.verb, Jsonb(r.reply)) for r in receipts]
    _insert(
        connection,
        """insert into haulage.inbox (command_id, operation, verb, reply)
        select * from unnest(%s::uuid[], %s::uuid[], %s::text[], %s::jsonb[])""",
        rows,
    )


def receipts(connection: Connection[Any], commands: Sequence[UUID]) -> dict[UUID, Receipt]:
    """What was answered, to those commands that are known."""
    rows = connection.execute(
        "select command_id, operation, verb, reply from haulage.inbox where command_id = any(%s)", (list(commands),)
    ).fetchall()
    return {row[0]: Receipt(*row) for row in rows}


def _insert(connection: Connection[Any], statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    try:
        connection.execute(statement, [list(column) for column in zip(*rows, strict=True)])
    except UniqueViolation as error:
        raise ConflictError(f"{error.diag.constraint_name}: it is there already") from error
