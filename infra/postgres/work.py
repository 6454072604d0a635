"""The work table: enqueue, claim, finish, retry. Every statement is set-based; none is per item.

Crash story. A claim is the session's id and an epoch in the row. Died before the claim was committed: nobody has it.
Died after: the session is found dead (`sessions.py`), its rows are given back. Frozen instead of dead, and handed on
meanwhile: session or epoch differ, so `finish`, `hold` and `retry` touch no row and raise `FencedError`, and the
transaction they are part of does not commit.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import FencedError
from haulage.domain.work import Claim, Task, Work

_COLUMNS = "operation, tenant, definition, task, step, first, last, priority, attempt, chunk_version"

_ENQUEUE = f"""
insert into haulage.work ({_COLUMNS})
select * from unnest(
    %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::int[], %s::int[],
    %s::bigint[])
on conflict on constraint work_once do nothing
"""  # noqa: S608 - only our own column names are put in

# Rows another claim is just taking are passed over, not waited for.
_CLAIM = f"""
with next as (
    select id from haulage.work
    where owner is null and not held and due_at <= clock_timestamp() and definition = any(%s)
    order by priority desc, id
    limit %s
    for update skip locked
)
update haulage.work set owner = %s, epoch = epoch + 1 from next where work.id = next.id
returning work.id, epoch, {_COLUMNS}
"""  # noqa: S608

_MINE = "id = %s and owner = %s and epoch = %s"


def definition_token(kind: str, version: int) -> str:
    """How the table names a definition."""
    return f"{kind}/{version}"


def enqueue(connection: Connection[Any], work: Sequence[Work]) -> None:
    """Add work, one statement; what is there already is left as it is."""
    rows = [
        (
            w.operation,
            w.tenant,
            definition_token(w.kind, w.definition_version),
            w.task.value,
            w.step,
            w.first,
            w.last,
            w.priority,
            w.attempt,
            w.chunk_version,
        )
        for w in work
    ]
    if rows:
        connection.execute(_ENQUEUE, [list(column) for column in zip(*rows, strict=True)])


def claim(connection: Connection[Any], session: UUID, definitions: Sequence[str], limit: int) -> list[Claim]:
    """Claim up to `limit` pieces of due work, highest priority first, then oldest.

    Takes a connection without an open transaction. Committed without waiting for the disk: a claim that a crash of
    the database loses is only claimed again.
    """
    with connection.transaction():
        connection.execute("set local synchronous_commit = off")
        rows = connection.execute(_CLAIM, (list(definitions), limit, session)).fetchall()
    claims = [_claim(row, session) for row in rows]
    return sorted(claims, key=lambda c: (-c.work.priority, c.id))


def _claim(row: tuple[Any, ...], session: UUID) -> Claim:
    id_, epoch, operation, tenant, definition, task, step, first, last, priority, attempt, chunk_version = row
    kind, _, version = definition.rpartition("/")
    work = Work(
        operation=operation,
        tenant=tenant,
        kind=kind,
        definition_version=int(version),
        task=Task(task),
        step=step,
        first=first,
        last=last,
        priority=priority,
        attempt=attempt,
        chunk_version=chunk_version,
    )
    return Claim(id=id_, epoch=epoch, session=session, work=work)


def finish(connection: Connection[Any], claim: Claim) -> None:
    """Remove the work, as its owner."""
    done = connection.execute(f"delete from haulage.work where {_MINE}", (claim.id, claim.session, claim.epoch))  # noqa: S608
    _check(done.rowcount, claim)


def hold(connection: Connection[Any], claim: Claim) -> None:
    """Keep the row locked until the transaction ends, as its owner."""
    held = connection.execute(
        f"select from haulage.work where {_MINE} for update",
        (claim.id, claim.session, claim.epoch),
    )
    _check(held.rowcount, claim)


def retry(connection: Connection[Any], claim: Claim, delay_seconds: float, attempt: int, chunk_version: int) -> None:
    """Give the work back as its owner, due after the delay, by the database's clock."""
    done = connection.execute(
        f"""update haulage.work set owner = null, attempt = %s, chunk_version = %s,
            due_at = clock_timestamp() + make_interval(secs => %s) where {_MINE}""",  # noqa: S608
        (attempt, chunk_version, delay_seconds, claim.id, claim.session, claim.epoch),
    )
    _check(done.rowcount, claim)


def give_back(connection: Connection[Any], session: UUID) -> int:
    """Give back all that a session has claimed; how many pieces that were."""
    return connection.execute("update haulage.work set owner = null where owner = %s", (session,)).rowcount


def in_flight(connection: Connection[Any], operations: Sequence[UUID]) -> dict[UUID, int]:
    """How many pieces of each operation's work are claimed, or can be: between this look and the hold that follows
    it, somebody may claim what is not held.
    """
    rows = connection.execute(
        """select operation, count(*) filter (where owner is not null or not held)
        from haulage.work where operation = any(%s) group by operation""",
        (list(operations),),
    ).fetchall()
    return dict.fromkeys(operations, 0) | dict(rows)


def set_held(connection: Connection[Any], operations: Sequence[UUID], held: bool) -> None:
    """Keep what is not claimed from being claimed, or no longer."""
    connection.execute(
        "update haulage.work set held = %s where operation = any(%s) and owner is null and held <> %s",
        (held, list(operations), held),
    )


def withdraw(connection: Connection[Any], operations: Sequence[UUID]) -> None:
    """Remove what is not claimed."""
    connection.execute(
        "delete from haulage.work where operation = any(%s) and owner is null",
        (list(operations),),
    )


def _check(rows: int, claim: Claim) -> None:
    if rows != 1:
        raise FencedError(f"the claim {claim.id} (epoch {claim.epoch}) has gone to another session")
