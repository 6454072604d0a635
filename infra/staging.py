"""Staging: reads an input once, cuts its items into blocks, and stores them a few at a time.

Blocks are made outside of any transaction; one that stores them is open for as long as one statement takes. It calls
`hold` first, which raises `FencedError` where the claim has gone to somebody else.

What is left when the input is at its end, and for a small input that is everything, is not stored: `Remainder.store`
does that in the caller's transaction, together with whatever else it records.

Crash story. Every block says how far the input had been read, and the digest of what was read.
1. Killed before the first commit: nothing is there; staging starts over.
2. Killed later: the next attempt reads the beginning of the input again, compares its digest, and goes on behind the
   last block. An input that is not what it was is refused.
3. Killed after all blocks are stored, before they are sealed: as 2, with nothing left to read.
4. The answer to a commit was lost: the attempt fails, and the next one finds the blocks, or does not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import InputError
from haulage.domain.manifest import InputFacts, Items, ManifestSummary
from haulage.infra.files.source import Source
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.leaves import pack, salted
from haulage.infra.postgres.manifest import Block, PostgresManifest, ResumePoint

BLOCK_ITEMS = 2000
BLOCK_BYTES = 1 << 20
"""A block ends early where its contents reach this; what it means for memory is one block and one item more."""

SMALL_ITEMS = 2000
GATHER_SECONDS = 0.2
GATHER_BYTES = 8 << 20

Hold = Callable[[Connection[Any]], None]


@dataclass(frozen=True, slots=True)
class Remainder:
    """The blocks that are not stored yet, after all that are. `stored` is the number of items in those that are."""

    operation: UUID
    facts: InputFacts
    input_digest: bytes
    stored: int
    blocks: tuple[Block, ...]
    _manifest: PostgresManifest = field(repr=False)

    @property
    def total(self) -> int:
        """All items of the input."""
        return self.blocks[-1].last if self.blocks else self.stored

    def store(self, connection: Connection[Any]) -> ManifestSummary:
        """Store what is left and seal the manifest, in the caller's transaction."""
        self._manifest.begin(connection, self.operation, self.facts)
        self._manifest.add_blocks(connection, self.operation, self.blocks)
        return self._manifest.seal(connection, self.operation, self.input_digest)

    def items(self) -> Items:
        """The items that are not stored yet, as `PostgresManifest.items` will give them."""
        contents = [value for block in self.blocks for value in block.leaves.values()]
        return Items(self.stored + 1, self.facts.columns, contents)


class Stager:
    """Stages inputs. `small_items`: up to so many, nothing is stored before `Remainder.store`."""

    def __init__(
        self,
        database: Database,
        manifest: PostgresManifest,
        *,
        small_items: int = SMALL_ITEMS,
        block_items: int = BLOCK_ITEMS,
        gather_seconds: float = GATHER_SECONDS,
        gather_bytes: int = GATHER_BYTES,
    ) -> None:
        self._database = database
        self._manifest = manifest
        self._small_items = small_items
        self._block_items = block_items
        self._gather_seconds = gather_seconds
        self._gather_bytes = gather_bytes

    def stage(self, source: Source, operation: UUID, *, hold: Hold, on_first_block: Hold | None = None) -> Remainder:
        """Stage `source` from its beginning, or from where an earlier attempt was interrupted.

        `on_first_block` is called in the transaction that stores the first block, after `hold`; never where that is
        left to the caller. Raises `InputError` where the input can't be read or is not what it was, and what `hold`
        raises; then the blocks stored so far stay for the next attempt.
        """
        with self._database.connection() as connection:
            point = self._manifest.resume_point(connection, operation)
        if point is not None:
            resume(source, point)
        stored = point.last if point else 0
        waiting: list[Block] = []
        began = perf_counter()
        for block in make_blocks(source, point, self._block_items):
            waiting.append(block)
            if self._is_enough(waiting, stored, perf_counter() - began):
                self._store(source, operation, waiting, hold, None if stored else on_first_block)
                stored, waiting, began = block.last, [], perf_counter()
        digest = source.raw.digest()
        source.raw.check_unchanged()
        return Remainder(operation, source.facts, digest, stored, tuple(waiting), self._manifest)

    def _is_enough(self, waiting: list[Block], stored: int, seconds: float) -> bool:
        if sum(len(block.leaves.content) + len(block.leaves.salts) for block in waiting) >= self._gather_bytes:
            return True
        return seconds >= self._gather_seconds and (stored > 0 or waiting[-1].last > self._small_items)

    def _store(
        self, source: Source, operation: UUID, blocks: list[Block], hold: Hold, on_first_block: Hold | None
    ) -> None:
        with self._database.transaction() as connection:
            hold(connection)
            if on_first_block:
                on_first_block(connection)
            self._manifest.begin(connection, operation, source.facts)
            self._manifest.add_blocks(connection, operation, blocks)


def make_blocks(source: Source, point: ResumePoint | None = None, block_items: int = BLOCK_ITEMS) -> Iterator[Block]:
    """The blocks of `source` from its present position on, which follow what is stored up to `point`."""
    number, first = (point.number + 1, point.last + 1) if point else (1, 1)
    # Up to a multiple of the usual size: after a block that was cut short, the borders of the next ones are as before.
    while contents := _take(source, block_items - (first - 1) % block_items):
        leaves = salted(contents)
        raw, position = source.raw, source.rows.position
        yield Block(number, first, len(contents), pack(leaves), leaves.digest, position, raw.hashed, raw.prefix_digest)
        number, first = number + 1, first + len(contents)


def _take(source: Source, count: int) -> list[bytes]:
    contents: list[bytes] = []
    size = 0
    while len(contents) < count and size < BLOCK_BYTES and (more := source.rows.take(count - len(contents))):
        contents += more
        size += sum(map(len, more))
    return contents


def resume(source: Source, point: ResumePoint) -> None:
    """Go to where `point` says. `InputError` where the input is not the one that was staged until then."""
    facts, before = source.facts, point.facts
    if facts.size != before.size:
        raise _changed(source, f"it had {before.size:,} bytes and has {facts.size:,}")
    if None not in (facts.modified, before.modified) and facts.modified != before.modified:
        raise _changed(source, "it was written to")
    if source.raw.prefix(point.read) != point.read_digest:
        raise _changed(source, "its beginning is different")
    source.rows.seek(point.position)


def _changed(source: Source, how: str) -> InputError:
    return InputError(
        f"{source.raw.name} changed while it was being staged: {how}; put the file back as it was and resume, "
        "or start a new operation with the new one"
    )
