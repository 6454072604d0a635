"""Reads a file as staging does, in pieces that are small enough to cut everything."""

from pathlib import Path
from typing import Any

import orjson

from haulage.infra.files.source import Source, open_source
from haulage.infra.files.text import PIECE_BYTES


def contents_of(source: Source) -> list[Any]:
    found: list[Any] = []
    while taken := source.rows.take(500):
        found += map(orjson.loads, taken)
    return found


def read(path: Path, data: bytes | str, *, piece_bytes: int = PIECE_BYTES, **options: Any) -> list[Any]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with open_source(path, piece_bytes=piece_bytes, **options) as source:
        return contents_of(source)


def codes(contents: list[Any]) -> list[str]:
    """The code of each faulty item; `ok` for the others."""
    return [content.partition("\n")[0] if isinstance(content, str) else "ok" for content in contents]
