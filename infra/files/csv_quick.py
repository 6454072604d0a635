"""CSV to JSON without a parser, for rows that allow it; whatever might mean something else is left to the csv module.

JSON is CSV's text with other separators, as long as nothing has to be escaped: without backslashes and control
characters, and with quotes either nowhere or around every value.
"""

import csv
from collections.abc import Sequence

import orjson

from haulage.infra.files.faults import is_utf8

_SENTINEL = "end"


class QuickRows:
    """Turns lines, which end at bare returns too, into contents; None for a line it leaves to others.

    That is a line that is blank, begins with a space, is not UTF-8, or has something in it that has to be parsed.
    """

    def __init__(self, delimiter: bytes, width: int) -> None:
        self._delimiter = delimiter
        self._width = width
        # Bytes that stand for themselves in JSON and mean nothing in CSV; and the ends of lines.
        self._plain = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\') + delimiter + b"\n"
        self._plain_or_return = self._plain + b"\r"
        self._quotes_apart = b'"' + delimiter + b'"'
        # What is left of rows of quoted values when everything else is taken out; the delimiters are in their places.
        self._not_structure = bytes(byte for byte in range(0x100) if byte not in b'"\n' + delimiter)
        self._structure = delimiter.join([b'""'] * width) + b"\n"

    def run(self, lines: list[bytes]) -> Sequence[bytes | None]:
        """The contents of the lines, one for each."""
        text = b"".join(lines)
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        if b"\r" in text or not is_utf8(text):
            return [self._row(line) for line in lines]
        text = text.removesuffix(b"\n")
        peculiar = text.translate(None, self._plain)
        all_rows = text[:1] not in b"\n " and b"\n\n" not in text and b"\n " not in text and text[-1:] != b"\n"
        if all_rows and not peculiar:
            return self._without_quotes(text)
        # Where few lines are quoted it is quicker to look for those.
        if all_rows and len(peculiar) >= len(lines):
            contents = self._all_quoted(text, len(lines)) or self._parsed(lines)
            if contents:
                return contents
        pairs = zip(lines, self._without_quotes(text), strict=True)
        return [content if self._is_plain(line) else None for line, content in pairs]

    def _row(self, line: bytes) -> bytes | None:
        return self._without_quotes(line.rstrip(b"\r\n"))[0] if self._is_plain(line) and is_utf8(line) else None

    def _is_plain(self, line: bytes) -> bool:
        return line[0] not in b" \r\n" and not line.translate(None, self._plain_or_return)

    def _without_quotes(self, text: bytes) -> list[bytes]:
        """A content for each line, right where the line is plain."""
        values = text.replace(self._delimiter, b'","').replace(b"\n", b'"],\n["')
        return (b'["' + values + b'"]').split(b",\n")

    def _all_quoted(self, text: bytes, count: int) -> list[bytes] | None:
        """The contents where all values are in quotes and contain neither quotes nor delimiters; else None."""
        if text.translate(None, self._plain).strip(b'"'):
            return None
        if text.translate(None, self._not_structure) + b"\n" != self._structure * count:
            return None
        # Quotes and delimiters are where they should be; nothing else may be between them, outside of the quotes.
        between = text.count(self._quotes_apart), text.count(b'"\n"')
        if between != ((self._width - 1) * count, count - 1) or text[:1] != b'"' or text[-1:] != b'"':
            return None
        values = text.replace(self._quotes_apart, b'","').replace(b"\n", b"],\n[")
        return (b"[" + values + b"]").split(b",\n")

    def _parsed(self, lines: list[bytes]) -> list[bytes] | None:
        """The contents by the csv module where each line is a row; else None."""
        texts = list(map(bytes.decode, lines))
        rows = list(csv.reader([*texts, _SENTINEL], delimiter=self._delimiter.decode()))
        # As many rows as lines: each row has one. The last one too, or it would have taken the sentinel.
        if len(rows) != len(lines) + 1 or rows.pop() != [_SENTINEL] or any("\0" in text for text in texts):
            return None
        return list(map(orjson.dumps, rows))
