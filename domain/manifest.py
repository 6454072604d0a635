"""The manifest: the ordered, durable list of an operation's items, in blocks; and the digests that hold it together.

    leaf hash        SHA-256 over the item's salt (16 random bytes), then its content (JSON, UTF-8)
    block digest     SHA-256 over the leaf hashes of its items, in order
    manifest digest  SHA-256 over the block digests, in order

A person is erased by replacing content and salt with the leaf hash: the data is gone, nobody can guess it back from
the hash without the salt, and every digest still verifies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from haulage.domain.items import Outcome, OutcomeKind

SALT_BYTES = 16
HASH_BYTES = 32

MESSAGES: Mapping[str, str] = {
    "row_too_long": "the row is longer than 128 KB; shorten it (only its beginning was kept)",
    "nul_byte": "the row contains a NUL character; remove it",
    "not_utf8": "the row is not valid UTF-8; save the file as UTF-8",
    "unclosed_quote": "a quoted value begins in this row and does not end where it should; close the quote",
    "not_json": "the line is not valid JSON; correct it",
    "not_an_object": 'the line is JSON but no object; write one object a line, such as {"email": …}',
    "too_deep": "the object is nested deeper than 100 levels; flatten it",
    "ragged_row": "the row has more or fewer values than the header has columns; correct the row",
    "erased": "the item's data was erased on request",
}
"""What the manifest's own codes mean: why an item can't be handed to an action, and what to do."""


# -- items, as actions get them ----------------------------------------------------------------------------------------
class Records(NamedTuple):
    """Items an action can look at: `values[i]` is the item `ordinals[i]`. The others have their outcome already."""

    ordinals: Sequence[int]
    values: Sequence[dict[str, Any]]
    refused: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class Items:
    """Consecutive items as they were staged; `contents[i]` is the item `first + i`.

    A content is a list of strings in the order of `columns` (from CSV; its length may differ: a ragged row), a dict
    (from NDJSON), a string where the input could not be parsed at that place (`CODE`, a line feed, then the raw text,
    possibly cut), or None where the item has been erased.
    """

    first: int
    columns: tuple[str, ...] | None
    contents: Sequence[Any]

    def records(self) -> Records:
        """The items as dicts. Faulty and ragged ones are rejected, erased ones skipped, each with its code."""
        columns, contents = self.columns, self.contents
        if columns and set(map(type, contents)) <= {list} and set(map(len, contents)) <= {len(columns)}:
            ordinals = range(self.first, self.first + len(contents))
            return Records(ordinals, [dict(zip(columns, content, strict=False)) for content in contents], ())
        return self._one_by_one()

    def _one_by_one(self) -> Records:
        ordinals: list[int] = []
        values: list[dict[str, Any]] = []
        refused: list[Outcome] = []
        for ordinal, content in enumerate(self.contents, self.first):
            if isinstance(content, dict):
                ordinals.append(ordinal)
                values.append(content)
            elif isinstance(content, list) and self.columns and len(content) == len(self.columns):
                ordinals.append(ordinal)
                values.append(dict(zip(self.columns, content, strict=True)))
            else:
                refused.append(refusal(ordinal, content))
        return Records(ordinals, values, refused)


def refusal(ordinal: int, content: Any) -> Outcome:
    """The outcome of an item that no action can look at."""
    if content is None:
        return Outcome(ordinal, OutcomeKind.SKIPPED, "erased")
    if isinstance(content, str):
        return Outcome(ordinal, OutcomeKind.REJECTED, content.partition("\n")[0])
    return Outcome(ordinal, OutcomeKind.REJECTED, "ragged_row" if isinstance(content, list) else "not_an_object")


# -- where items came from ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class InputFacts:
    """What staging knows about its input before the first item.

    `format` is `csv` or `ndjson`; `header` the column names as the file has them, `columns` the same in the order of
    the header, trimmed and in lower case (both None for NDJSON); `size` in bytes; `modified` in nanoseconds since 1970,
    None where the file is a private copy, whose time says nothing.
    """

    format: str
    columns: tuple[str, ...] | None
    header: tuple[str, ...] | None
    size: int
    modified: int | None

    def row_number(self, ordinal: int) -> int:
        """Where people find an item: the row in their spreadsheet or editor, blank rows not counted."""
        return ordinal + 1 if self.columns else ordinal


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """A sealed manifest. Digests are hexadecimal; `input_digest` is the SHA-256 of the input's bytes."""

    items: int
    blocks: int
    manifest_digest: str
    input_digest: str | None
    input_bytes: int | None


# -- leaves and digests ------------------------------------------------------------------------------------------------
def leaf_hash(salt: bytes, content: bytes) -> bytes:
    """What stands for an item in its block's digest."""
    return sha256(salt + content).digest()


def block_digest(leaves: Iterable[bytes]) -> bytes:
    """What stands for a block in the manifest's digest."""
    return sha256(b"".join(leaves)).digest()


def manifest_digest(blocks: Iterable[bytes]) -> bytes:
    """What stands for all items of an operation, in `operation.planned`."""
    return sha256(b"".join(blocks)).digest()


@dataclass(frozen=True, slots=True)
class Leaves:
    """Contents with their salts: what a block of the manifest, or the undo records of a chunk, is made of.

    `salts` holds 16 bytes a content. Where a content has been erased it is None, its salt is zeros, and `erased` has
    its leaf hash by index.
    """

    contents: Sequence[bytes | None]
    salts: bytes
    erased: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.salts) != SALT_BYTES * len(self.contents):
            raise ValueError(f"{len(self.contents)} contents need {SALT_BYTES} bytes of salt each")

    def hashes(self) -> list[bytes]:
        """The leaf hash of each content, in order."""
        salts, erased = self.salts, self.erased
        starts = range(0, len(salts), SALT_BYTES)
        # The bulk of staging's time: one expression a leaf, no call of ours in it.
        return [
            erased[at // SALT_BYTES] if content is None else sha256(salts[at : at + SALT_BYTES] + content).digest()
            for at, content in zip(starts, self.contents, strict=True)
        ]

    @property
    def digest(self) -> bytes:
        """The block digest; the same before and after any erasure."""
        return block_digest(self.hashes())

    def verify(self, digest: bytes) -> bool:
        """Whether `digest` was made from these leaves. An erasure without its leaf hash does not verify."""
        missing = any(content is None and i not in self.erased for i, content in enumerate(self.contents))
        return not missing and self.digest == digest

    def erase(self, indexes: Iterable[int]) -> "Leaves":
        """The same leaves without the data at `indexes`. Erasing again changes nothing."""
        contents, salts, erased = list(self.contents), bytearray(self.salts), dict(self.erased)
        for index in indexes:
            content = contents[index]
            if content is not None:
                salt = slice(index * SALT_BYTES, (index + 1) * SALT_BYTES)
                erased[index] = leaf_hash(bytes(salts[salt]), content)
                contents[index], salts[salt] = None, bytes(SALT_BYTES)
        return Leaves(contents, bytes(salts), erased)
