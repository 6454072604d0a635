"""Leaves as they are stored: contents as one compressed JSON array, salts, and the hashes of those that were erased.

The array has a line feed after each comma and nowhere else: JSON has none inside a value that is written in one line.
So one parse gives all contents, and one split gives each content's bytes.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from haulage.domain.manifest import HASH_BYTES, SALT_BYTES, Leaves

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 1
"""The fastest that still finds repeated names; staging is to be limited by hashing, not by this."""

_BETWEEN = b",\n"
_ERASED = b"null"


@dataclass(frozen=True, slots=True)
class PackedLeaves:
    """`Leaves` in the columns of a table."""

    content: bytes
    salts: bytes
    erased: bytes = b""

    def values(self) -> list[Any]:
        """The contents, parsed; None where erased."""
        values: list[Any] = orjson.loads(zstd.decompress(self.content))
        return values

    def unpack(self) -> Leaves:
        """The leaves. `ValueError` where they are damaged."""
        try:
            text = zstd.decompress(self.content)
        except zstd.ZstdError as error:
            raise ValueError(f"damaged content: {error}") from error
        stored = text[1:-1].split(_BETWEEN)
        contents = [None if content == _ERASED else content for content in stored]
        gone = [index for index, content in enumerate(contents) if content is None]
        hashes = [self.erased[at : at + HASH_BYTES] for at in range(0, len(self.erased), HASH_BYTES)]
        return Leaves(contents, self.salts, dict(zip(gone, hashes, strict=True)))


def pack(leaves: Leaves) -> PackedLeaves:
    """The same leaves to be stored. Contents must be JSON without line feeds, and not `null`."""
    # No content is empty, so what is false is None.
    contents = [content or _ERASED for content in leaves.contents]
    content = zstd.compress(b"[" + _BETWEEN.join(contents) + b"]", LEVEL)
    return PackedLeaves(content, leaves.salts, b"".join(leaves.erased[index] for index in sorted(leaves.erased)))


def salted(contents: Sequence[bytes]) -> Leaves:
    """New leaves, with fresh salts."""
    return Leaves(contents, os.urandom(SALT_BYTES * len(contents)))
