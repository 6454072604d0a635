"""Items from CSV: a content is the JSON list of a row's values.

Means what `csv.reader(open(path, newline=""))` means, and is faster, since most rows need no parser (`csv_quick`). A
run of lines that is not so plain is gone through line by line.

Where the csv module would swallow the rest of the file after a quote that nobody closed, only the line with that
quote is lost: a row of several lines must have the header's width and be strictly quoted, else its first line alone is
given up as faulty and reading goes on with the second.
"""

import csv
from typing import Self

import orjson

from haulage.infra.files.csv_quick import QuickRows
from haulage.infra.files.faults import fault, is_utf8
from haulage.infra.files.header import Header
from haulage.infra.files.lines import Lines
from haulage.infra.files.rejects import unescape
from haulage.infra.files.row_end import row_length

TAKE_BYTES = 1 << 20
"""Input taken at once, about: bounds the memory where rows are long."""

RUN_LINES = 64
"""Lines tried at once: many enough to be cheap, few enough that one that is not plain costs few neighbours a look."""

FEW_LINES = 4
"""The same behind a row of several lines."""

_BLANK = b""
"""In place of the content of a line that is no row. No content is empty."""


class CsvSource:
    """The rows of a CSV file after its header; `lines` splits at bare returns too and stands at the first row."""

    def __init__(self, lines: Lines, header: Header) -> None:
        self._lines = lines
        self._delimiter = header.delimiter.encode()
        self._reject_columns = header.reject_columns
        self._width = len(header.columns) + header.reject_columns
        self._quick = QuickRows(self._delimiter, self._width)
        self._run_lines = RUN_LINES
        self._feed = _Feed()
        self._reader = csv.reader(self._feed, delimiter=header.delimiter)

    @property
    def position(self) -> int:
        """Where the next row begins."""
        return self._lines.position

    def seek(self, position: int) -> None:
        """Go to `position`, where a row begins."""
        self._lines.seek(position)

    def take(self, count: int) -> list[bytes]:
        """The contents of up to `count` rows, and go past them. Empty only at the end."""
        lines, contents = self._lines, list[bytes]()
        stop = lines.position + TAKE_BYTES
        while len(contents) < count and (lines.position < stop or not contents):
            if lines.index >= len(lines.in_hand) and not (line := lines.line()):
                if line is None:
                    break
                contents.append(self._several_lines())
                continue
            contents += self._run(
                lines.in_hand[lines.index : lines.index + min(self._run_lines, count - len(contents))]
            )
        return contents

    def _run(self, run: list[bytes]) -> list[bytes]:
        """The contents of the rows in `run`, and go past them; or past a row of several lines, where one begins."""
        quick = self._quick.run(run) if self._reject_columns == 0 else [None] * len(run)
        self._run_lines = RUN_LINES
        contents = [content for content in quick if content is not None]
        if len(contents) == len(run):
            self._lines.advance(len(run))
            return contents
        contents = []
        for passed, (line, content) in enumerate(zip(run, quick, strict=True)):
            found = content or self._one_line(line)
            if found is None:
                self._lines.advance(passed)
                # Such rows come together: do not look at many lines again and again.
                self._run_lines = FEW_LINES
                return [*contents, self._several_lines()]
            if found is not _BLANK:
                contents.append(found)
        self._lines.advance(len(run))
        return contents

    # -- one line ----------------------------------------------------------------------------------------------------
    def _one_line(self, line: bytes) -> bytes | None:
        """The content of a row that is one line, or `_BLANK`; None where it does not end with its line."""
        values = self._parse(line)
        if self._feed.asked_for_more:
            return None
        if not values or (self._width > 1 and not line.strip(b" \r\n")):
            return _BLANK
        return self._content(values, line)

    def _parse(self, row: bytes) -> list[str]:
        self._feed.give(row)
        return next(self._reader)

    def _content(self, values: list[str], raw: bytes) -> bytes:
        """A row's content, or the fault it is."""
        if b"\0" in raw:
            return fault("nul_byte", raw)
        if not is_utf8(raw):
            return fault("not_utf8", raw)
        if self._reject_columns:
            values = [unescape(value) for value in values[self._reject_columns :]]
        return orjson.dumps(values)

    # -- several lines -----------------------------------------------------------------------------------------------
    def _several_lines(self) -> bytes:
        """The content of the row that begins here, and go past it: one of several lines, or too long, or both."""
        lines = self._lines
        length = row_length(lines.pieces(), self._delimiter, self._width)
        if length is None:
            return self._first_line_lost()
        raw = lines.head(min(length, lines.limit))
        count = len(raw.splitlines())
        # Else the row is too long itself, or its last line ends in a bare return before something too long.
        if length <= lines.limit and lines.line(count - 1):
            lines.advance(count)
        else:
            lines.seek(lines.position + length)
        return fault("row_too_long", raw) if length > lines.limit else self._content(self._parse(raw), raw)

    def _first_line_lost(self) -> bytes:
        """The fault that the next line is, and go past it."""
        lines = self._lines
        if line := lines.line():
            lines.advance(1)
            return fault("unclosed_quote", line)
        raw = lines.head(lines.limit)
        lines.seek(lines.after_line())
        return fault("row_too_long", raw)


class _Feed:
    """What the csv module's reader reads from: the row it is given, and whether it asked for more than that."""

    def __init__(self) -> None:
        self._row: bytes | None = None
        self.asked_for_more = False

    def give(self, row: bytes) -> None:
        self._row = row
        self.asked_for_more = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        row, self._row = self._row, None
        if row is None:
            self.asked_for_more = True
            raise StopIteration
        # Bytes that are no UTF-8 pass through the parser; the row is refused when it is complete.
        return row.decode("utf-8", "surrogateescape")
