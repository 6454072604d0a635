"""An input file, opened and looked at: its format, its header, and where its first item is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import orjson

from haulage.domain.errors import InputError
from haulage.domain.manifest import InputFacts
from haulage.infra.files.csv_source import CsvSource
from haulage.infra.files.header import read_header
from haulage.infra.files.lines import MAX_ROW_BYTES, Lines
from haulage.infra.files.ndjson_source import NdjsonSource
from haulage.infra.files.raw import RawFile, open_raw
from haulage.infra.files.rejects import is_rejects_header
from haulage.infra.files.text import PIECE_BYTES, CarriageReturnText, Text, open_text

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}


class Rows(Protocol):
    """Items in their order, from a position in the text."""

    @property
    def position(self) -> int:
        """Where the next item begins, or where what is no item begins before it."""

    def seek(self, position: int) -> None:
        """Go to a position that `position` once gave."""

    def take(self, count: int) -> list[bytes]:
        """The contents (JSON) of up to `count` items, and go past them. Fewer at will, none only at the end."""


class Source:
    """An open input: `facts` about it, the `raw` file, and its `rows`. Close it, or use it in a `with`."""

    def __init__(self, facts: InputFacts, raw: RawFile, rows: Rows) -> None:
        self.facts = facts
        self.raw = raw
        self.rows = rows

    def close(self) -> None:
        """Close the file."""
        self.raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(
    path: Path,
    *,
    file_format: str | None = None,
    required: Sequence[str] = (),
    folders: Sequence[Path] | None = None,
    name: str | None = None,
    private: bool = False,
    piece_bytes: int = PIECE_BYTES,
) -> Source:
    """Open the file at `path` as `csv` or `ndjson`; by default the ending of its name tells.

    `required` columns must be in a CSV header. `folders`: where inputs may come from, links followed; None is anywhere.
    `name` is what people call the input; `private` says that the file is a copy made for us, so that its time of
    modification means nothing. Raises `InputError`.
    """
    name = name or str(path)
    file_format = file_format or _format_of(name)
    if file_format not in FORMATS.values():
        raise InputError(f"the format `{file_format}` is not known; it can be csv or ndjson")
    raw = open_raw(path, name, folders)
    try:
        text = open_text(raw, piece_bytes)
        modified = None if private else raw.modified
        if file_format == "csv":
            return _open_csv(raw, text, modified, required)
        return _open_ndjson(raw, text, modified)
    except BaseException:
        raw.close()
        raise


def _format_of(name: str) -> str:
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"{name} does not end in {', '.join(FORMATS)}; rename it, or say which format it has: csv or ndjson"
        )
    return FORMATS[ending]


def _open_csv(raw: RawFile, text: Text, modified: int | None, required: Sequence[str]) -> Source:
    beginning = text.read(0)[:MAX_ROW_BYTES]
    if b"\n" not in beginning and b"\r" in beginning:
        text = CarriageReturnText(text)
    lines = Lines(text, bare_returns=True)
    header = read_header(lines, raw.name, [column.lower() for column in required])
    facts = InputFacts("csv", header.columns, header.names, raw.size, modified)
    return Source(facts, raw, CsvSource(lines, header))


def _open_ndjson(raw: RawFile, text: Text, modified: int | None) -> Source:
    lines = Lines(text)
    while (line := lines.line()) and not line.strip():
        lines.advance(1)
    if line is None:
        raise InputError(f"{raw.name} is empty; write one JSON object a line")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = None
        if line.lstrip().startswith(b"["):
            raise InputError(
                f"{raw.name} is one JSON array, not NDJSON; write one object a line (`jq -c '.[]'` does that)"
            ) from None
    of_rejects = isinstance(value, dict) and is_rejects_header(value)
    return Source(InputFacts("ndjson", None, None, raw.size, modified), raw, NdjsonSource(lines, of_rejects=of_rejects))
