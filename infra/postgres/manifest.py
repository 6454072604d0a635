"""The manifest in PostgreSQL: blocks are added in order, sealed once, read by range, erased item by item.

Everything works in the caller's transaction. Who stages holds its claim in the same transaction, so two stagers never
both add blocks; if they did, the second would violate `blocks_pkey`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.domain.items import MAX_CHUNK_ITEMS
from haulage.domain.manifest import InputFacts, Items, ManifestSummary, manifest_digest
from haulage.infra.postgres.leaves import PackedLeaves, pack

MAX_BLOCK_ITEMS = MAX_CHUNK_ITEMS
"""Table haulage.blocks allows no more, so a range of items is found by looking this far back."""

_VERIFIED_AT_ONCE = 16
_DROPPED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive items from the ordinal `first` on, and how far the input had been read behind the last of them.

    `number` counts blocks from 1; `position` is that of the next item in the text, `read` the bytes of the file that
    had been read by then and `read_digest` the SHA-256 of those.
    """

    number: int
    first: int
    items: int
    leaves: PackedLeaves
    digest: bytes
    position: int
    read: int
    read_digest: bytes

    @property
    def last(self) -> int:
        """The ordinal of its last item."""
        return self.first + self.items - 1


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """How far staging has come: what is known of the input, and the last block that was stored (without its items)."""

    facts: InputFacts
    number: int
    last: int
    position: int
    read: int
    read_digest: bytes


class PostgresManifest:
    """Manifests of all operations. Has no state; for all threads."""

    # -- staging -----------------------------------------------------------------------------------------------------
    def begin(self, connection: Connection[Any], operation: UUID, facts: InputFacts) -> None:
        """Note what is known of the input. A repeat changes nothing."""
        connection.execute(
            """
            insert into haulage.manifests (operation, format, columns, header, input_bytes, input_modified)
            values (%s, %s, %s, %s, %s, %s) on conflict do nothing
            """,
            (
                operation,
                facts.format,
                None if facts.columns is None else list(facts.columns),
                None if facts.header is None else list(facts.header),
                facts.size,
                facts.modified,
            ),
        )

    def add_blocks(self, connection: Connection[Any], operation: UUID, blocks: Sequence[Block]) -> None:
        """Add blocks behind those that are there, in one statement."""
        if not blocks:
            return
        # Not COPY: a few large values go as fast in one statement, which is sent whole and can't stall half-way.
        connection.execute(
            """
            insert into haulage.blocks (
                operation, number, first, items, content, salts, digest, position, read, read_digest
            )
            select %s, * from unnest(
                %b::bigint[], %b::bigint[], %b::integer[], %b::bytea[], %b::bytea[], %b::bytea[],
                %b::bigint[], %b::bigint[], %b::bytea[]
            )
            """,
            (
                operation,
                [block.number for block in blocks],
                [block.first for block in blocks],
                [block.items for block in blocks],
                [block.leaves.content for block in blocks],
                [block.leaves.salts for block in blocks],
                [block.digest for block in blocks],
                [block.position for block in blocks],
                [block.read for block in blocks],
                [block.read_digest for block in blocks],
            ),
        )

    def resume_point(self, connection: Connection[Any], operation: UUID) -> ResumePoint | None:
        """Where staging goes on; None where no block is stored yet."""
        row = connection.execute(
            """
            select number, first + items - 1, position, read, read_digest from haulage.blocks
            where operation = %s order by first desc limit 1
            """,
            (operation,),
            binary=True,
        ).fetchone()
        facts = self.facts(connection, operation)
        return None if row is None or facts is None else ResumePoint(facts, *row)

    def seal(self, connection: Connection[Any], operation: UUID, input_digest: bytes) -> ManifestSummary:
        """Write down totals and digests when all blocks are added. Sealing again gives the same."""
        row = connection.execute(
            """
            with stored as (
                -- `domain.manifest.manifest_digest`, where the digests are.
                select coalesce(sum(items), 0) as items, count(*) as blocks,
                    sha256(coalesce(string_agg(digest, '' order by first), '')) as digest
                from haulage.blocks where operation = %(operation)s
            )
            update haulage.manifests m
            set items = s.items, blocks = s.blocks, manifest_digest = s.digest, input_digest = %(input_digest)b
            from stored s where operation = %(operation)s
            returning m.items, m.blocks, m.manifest_digest, m.input_digest, m.input_bytes
            """,
            {"operation": operation, "input_digest": input_digest},
            binary=True,
        ).fetchone()
        if row is None:
            raise _no_manifest(operation)
        return _summary(row)

    # -- reading -----------------------------------------------------------------------------------------------------
    def facts(self, connection: Connection[Any], operation: UUID) -> InputFacts | None:
        """What is known of the input; None without a manifest."""
        row = connection.execute(
            "select format, columns, header, input_bytes, input_modified from haulage.manifests where operation = %s",
            (operation,),
        ).fetchone()
        if row is None:
            return None
        file_format, columns, header, size, modified = row
        return InputFacts(file_format, columns and tuple(columns), header and tuple(header), size, modified)

    def summary(self, connection: Connection[Any], operation: UUID) -> ManifestSummary | None:
        """The sealed manifest's totals and digests; None where there is none, or it is not sealed yet."""
        row = connection.execute(
            """
            select items, blocks, manifest_digest, input_digest, input_bytes from haulage.manifests
            where operation = %s and items is not null
            """,
            (operation,),
            binary=True,
        ).fetchone()
        return row and _summary(row)

    def items(self, connection: Connection[Any], operation: UUID, first: int, last: int) -> Items:
        """The items `first` to `last`, both included. `NotFoundError` where the manifest has not all of them."""
        rows = connection.execute(
            """
            select b.first, b.content, m.columns
            from haulage.blocks b join haulage.manifests m using (operation)
            where operation = %s and b.first > %s and b.first <= %s and b.first + b.items > %s
            order by b.first
            """,
            (operation, first - MAX_BLOCK_ITEMS, last, first),
            binary=True,
        ).fetchall()
        contents: list[Any] = []
        for start, content, _ in rows:
            values = PackedLeaves(content, b"").values()
            contents += values[max(first - start, 0) : last + 1 - start]
        if len(contents) != last + 1 - first:
            raise NotFoundError(f"operation {operation} has no items {first:,} to {last:,}, or has them no longer")
        columns = rows[0][2]
        return Items(first, None if columns is None else tuple(columns), contents)

    def verify(self, connection: Connection[Any], operation: UUID, digest: str) -> list[str]:
        """What does not agree with `digest`, the one in `operation.planned`: a sentence each; none is well.

        Reads some blocks at a time.
        """
        wrong: list[str] = []
        digests: list[bytes] = []
        after = 0
        while rows := self._blocks_after(connection, operation, after):
            for number, first, items, content, salts, erased, stored in rows:
                if first != after + 1 or not _verifies(PackedLeaves(content, salts, erased), items, stored):
                    wrong.append(f"block {number:,} (items {first:,} to {first + items - 1:,}) was changed or damaged")
                digests.append(stored)
                after = first + items - 1
        if manifest_digest(digests).hex() != digest:
            wrong.append(f"the {len(digests):,} blocks together are not those that were planned")
        return wrong

    def _blocks_after(self, connection: Connection[Any], operation: UUID, ordinal: int) -> list[tuple[Any, ...]]:
        return connection.execute(
            """
            select number, first, items, content, salts, erased, digest from haulage.blocks
            where operation = %s and first > %s order by first limit %s
            """,
            (operation, ordinal, _VERIFIED_AT_ONCE),
            binary=True,
        ).fetchall()

    # -- going -------------------------------------------------------------------------------------------------------
    def erase(self, connection: Connection[Any], operation: UUID, ordinals: Iterable[int]) -> int:
        """Replace these items by their leaf hashes; how many that were. A repeat finds none; digests stay as they are.

        PostgreSQL keeps the rows' old versions until they are vacuumed: `vacuum haulage.blocks` after the commit (the
        application's role may). The bytes are overwritten when the space is used again, or by `vacuum full` at once;
        backups and WAL age by their own rules.
        """
        wanted = sorted(set(ordinals))
        erased = 0
        while wanted:
            row = connection.execute(
                """
                select first, items, content, salts, erased from haulage.blocks
                where operation = %s and first <= %s and first + items > %s order by first desc limit 1 for update
                """,
                (operation, wanted[0], wanted[0]),
                binary=True,
            ).fetchone()
            if row is None:
                wanted = wanted[1:]
                continue
            first, items, *columns = row
            here = [ordinal - first for ordinal in wanted if ordinal < first + items]
            wanted = wanted[len(here) :]
            erased += self._erase_in_block(connection, operation, first, PackedLeaves(*columns), here)
        return erased

    def _erase_in_block(
        self, connection: Connection[Any], operation: UUID, first: int, leaves: PackedLeaves, indexes: Sequence[int]
    ) -> int:
        before = leaves.unpack()
        after = before.erase(indexes)
        packed = pack(after)
        connection.execute(
            "update haulage.blocks set content = %b, salts = %b, erased = %b where operation = %s and first = %s",
            (packed.content, packed.salts, packed.erased, operation, first),
        )
        return len(after.erased) - len(before.erased)

    def drop(self, connection: Connection[Any], operation: UUID, blocks: int = _DROPPED_AT_ONCE) -> bool:
        """Remove up to `blocks` blocks, so that no transaction gets long; True where there are more.

        With the last of them the manifest is gone. A repeat does nothing.
        """
        removed = connection.execute(
            """
            delete from haulage.blocks where operation = %(operation)s and first in (
                select first from haulage.blocks where operation = %(operation)s order by first desc limit %(blocks)s
            )
            """,
            {"operation": operation, "blocks": blocks},
        ).rowcount
        if removed == blocks:
            return True
        connection.execute("delete from haulage.manifests where operation = %s", (operation,))
        return False


def _verifies(leaves: PackedLeaves, items: int, digest: bytes) -> bool:
    try:
        unpacked = leaves.unpack()
    except ValueError:
        return False
    return len(unpacked.contents) == items and unpacked.verify(digest)


def _summary(row: tuple[Any, ...]) -> ManifestSummary:
    items, blocks, digest, input_digest, input_bytes = row
    return ManifestSummary(items, blocks, digest.hex(), input_digest and input_digest.hex(), input_bytes)


def _no_manifest(operation: UUID) -> NotFoundError:
    return NotFoundError(f"operation {operation} has no manifest")
