"""The manifest: the ordered, durable list of an operation's items, in blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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
