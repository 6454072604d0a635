"""Undo records: one row for each chunk, stored like a block of the manifest; erasable, and still verifiable then."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from psycopg import Connection

from haulage.domain.undo import UndoRecord
from haulage.infra.postgres.leaves import PackedLeaves, pack, salted


def keep(
    connection: Connection[Any], operation: UUID, step: str, first: int, last: int, records: Sequence[UndoRecord]
) -> str | None:
    """Store the records of the chunk `first..last`, in any order; the hexadecimal digest, or None without records.

    A chunk's records are kept once: a repeat violates `undo_pkey`.
    """
    if not records:
        return None
    ordinals = [record.ordinal for record in records]
    leaves = salted([orjson.dumps(record.before) for record in records])
    digest, packed = leaves.digest, pack(leaves)
    connection.execute(
        """
        insert into haulage.undo (operation, step, first, last, ordinals, content, salts, digest)
        values (%s, %s, %s, %s, %b, %b, %b, %b)
        """,
        (operation, step, first, last, ordinals, packed.content, packed.salts, digest),
    )
    return digest.hex()


def load(connection: Connection[Any], operation: UUID, step: str, first: int, last: int) -> list[UndoRecord]:
    """The records of a chunk, in the order they were kept; none where there are none. Erased ones are left out."""
    row = connection.execute(
        """
        select ordinals, content, salts, erased from haulage.undo
        where operation = %s and step = %s and first = %s and last = %s
        """,
        (operation, step, first, last),
        binary=True,
    ).fetchone()
    if row is None:
        return []
    ordinals, *columns = row
    values = PackedLeaves(*columns).values()
    return [UndoRecord(ordinal, before) for ordinal, before in zip(ordinals, values, strict=True) if before is not None]


def erase(connection: Connection[Any], operation: UUID, ordinals: Sequence[int]) -> int:
    """Erase what is kept of these items, in all steps; how many records that concerned. A repeat finds none.

    The old versions of rows are gone after `vacuum haulage.undo`; see `PostgresManifest.erase`.
    """
    rows = connection.execute(
        """
        select step, first, last, ordinals, content, salts, erased from haulage.undo
        where operation = %s and ordinals && %b::bigint[] for update
        """,
        (operation, list(ordinals)),
        binary=True,
    ).fetchall()
    wanted, count = set(ordinals), 0
    for step, first, last, kept, *columns in rows:
        before = PackedLeaves(*columns).unpack()
        after = before.erase(index for index, ordinal in enumerate(kept) if ordinal in wanted)
        packed = pack(after)
        connection.execute(
            """
            update haulage.undo set content = %b, salts = %b, erased = %b
            where operation = %s and step = %s and first = %s and last = %s
            """,
            (packed.content, packed.salts, packed.erased, operation, step, first, last),
        )
        count += len(after.erased) - len(before.erased)
    return count


def verify(connection: Connection[Any], operation: UUID, step: str, first: int, last: int) -> str | None:
    """The hexadecimal digest of a chunk's records as they are now, to be compared with the event's; None without."""
    row = connection.execute(
        """
        select content, salts, erased from haulage.undo where operation = %s and step = %s and first = %s and last = %s
        """,
        (operation, step, first, last),
        binary=True,
    ).fetchone()
    return None if row is None else PackedLeaves(*row).unpack().digest.hex()


def drop(connection: Connection[Any], operation: UUID) -> None:
    """Remove all records of an operation."""
    connection.execute("delete from haulage.undo where operation = %s", (operation,))
