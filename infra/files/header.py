"""The header of a CSV file: found, split by the right delimiter, checked.

Sentences never repeat what the file says. Where the header is missing, that would be the first person's data.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from haulage.domain.errors import InputError
from haulage.infra.files.faults import is_utf8
from haulage.infra.files.lines import TOO_LONG, Lines
from haulage.infra.files.rejects import REJECT_COLUMNS, is_rejects_header

DELIMITERS = ",;\t|"

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?')
_HEADER_LINES = 100


@dataclass(frozen=True, slots=True)
class Header:
    """`names` as the file has them, `columns` trimmed and in lower case; `position` is where the first row begins.

    `reject_columns` is how many columns at the beginning are those of a rejects file that came back.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    delimiter: str
    position: int
    reject_columns: int


def read_header(lines: Lines, name: str, required: Sequence[str], delimiter: str | None = None) -> Header:
    """Read the header at the beginning of `lines`. `delimiter` None: the one that makes most of the header.

    Raises `InputError` where there is none, a `required` column is missing, or two columns have the same name.
    """
    _skip_blank(lines, name, required)
    if found := _SEPARATOR_LINE.fullmatch((lines.line() or b"").decode("utf-8", "replace")):
        # Excel's own way to name the delimiter.
        delimiter = delimiter or found[1]
        lines.advance(1)
        _skip_blank(lines, name, required)
    text = _header_lines(lines, name)
    rows = [(d, *_parse(text, d)) for d in delimiter or DELIMITERS]
    best = max(rows, key=lambda row: (len({c.strip().lower() for c in row[1]} & set(required)), len(row[1])))
    delimiter, names, used = best
    if used > len(text):
        raise InputError(f"{name}, row 1: a quoted column name does not end; close the quote")
    lines.advance(used)
    rejected = len(REJECT_COLUMNS) if _is_of_rejects(names, required) else 0
    names = names[rejected:]
    columns = tuple(column.strip().lower() or f"column_{i}" for i, column in enumerate(names, rejected + 1))
    _check_columns(columns, name, required, rejected)
    return Header(tuple(names), columns, delimiter, lines.position, rejected)


def _skip_blank(lines: Lines, name: str, required: Sequence[str]) -> None:
    while (line := lines.line()) is not None and line is not TOO_LONG and not line.strip():
        lines.advance(1)
    if line is None:
        columns = f" with the columns {_quoted(required)}" if required else ""
        raise InputError(f"{name} is empty; its first row must be a header{columns}")


def _header_lines(lines: Lines, name: str) -> list[str]:
    """The first lines, of which the header takes one or, with line breaks in names, more."""
    found: list[str] = []
    size = 0
    while size < lines.limit and len(found) < _HEADER_LINES and (line := lines.line(len(found))):
        # Behind the header itself, faults are those of items.
        found.append(line.decode("utf-8", "surrogateescape"))
        size += len(line)
    if not found:
        raise InputError(f"{name}, row 1: the header is longer than {lines.limit >> 10} KB; is this a CSV file?")
    if "\0" in found[0]:
        raise InputError(f"{name}, row 1: the header contains a NUL character; is this a CSV file in UTF-8?")
    return found


def _parse(text: Sequence[str], delimiter: str) -> tuple[list[str], int]:
    """The names, and how many lines they take; one more than there are where a quote is not closed."""
    # One line more: if the reader takes it, the quote was still open.
    reader = csv.reader([*text, "\n"], delimiter=delimiter)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return [], len(text) + 1


def _is_of_rejects(names: Sequence[str], required: Sequence[str]) -> bool:
    """Whether the first columns are those that a rejects file puts before the original ones, all that is required."""
    original = {name.strip().lower() for name in names[len(REJECT_COLUMNS) :]}
    return is_rejects_header(names) and bool(original) and original >= set(required)


def _check_columns(columns: Sequence[str], name: str, required: Sequence[str], rejected: int) -> None:
    if missing := [column for column in required if column not in columns]:
        word = "columns" if len(missing) > 1 else "column"
        raise InputError(
            f"{name}, row 1: the header has no {word} {_quoted(missing)}; "
            f"the first row must name the columns, at least {_quoted(required)}"
        )
    for place, column in enumerate(columns):
        if "\0" in column or not is_utf8(column.encode("utf-8", "surrogateescape")):
            raise InputError(
                f"{name}, row 1: the name of column {place + rejected + 1} is not text in UTF-8; save the file as UTF-8"
            )
        first = columns.index(column)
        if first != place:
            what = f" `{column}`" if column in required else ""
            raise InputError(
                f"{name}, row 1: columns {first + rejected + 1} and {place + rejected + 1} have the same name{what}; "
                "give each column its own"
            )


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)
