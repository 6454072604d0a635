"""Text at a position: whatever encoding a file has, its readers see UTF-8.

Positions count bytes of that UTF-8 text, the byte order mark left out. UTF-8 itself passes through as it is, faults
included: a reader judges row by row. UTF-16 is transcoded on the way, in pieces; for going back, the places are noted
where a piece began.
"""

import codecs
from bisect import bisect_right
from typing import Protocol

from haulage.domain.errors import InputError
from haulage.infra.files.raw import RawFile

PIECE_BYTES = 1 << 18
HEAD_BYTES = 4096

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "looks like an Excel workbook or another zip archive; save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "looks like an old Excel workbook; save the sheet as CSV (UTF-8)"),
    (b"PAR1", "looks like a Parquet file; export it as CSV or NDJSON"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first"),
    (b"%PDF", "is a PDF document; export the table as CSV"),
    (codecs.BOM_UTF32_LE, "is encoded as UTF-32; save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "is encoded as UTF-32; save it as UTF-8"),
)


class Text(Protocol):
    """UTF-8 text that can be read at any position; fastest in order."""

    def read(self, position: int) -> bytes:
        """The next piece from `position`, of some 256 KB; empty only at the end."""


class Utf8Text:
    """The file's own bytes after the mark."""

    def __init__(self, raw: RawFile, mark_bytes: int = 0, piece_bytes: int = PIECE_BYTES) -> None:
        self._raw = raw
        self._mark_bytes = mark_bytes
        self._piece_bytes = piece_bytes

    def read(self, position: int) -> bytes:
        """See `Text`."""
        return self._raw.read(self._mark_bytes + position, self._piece_bytes)


class Utf16Text:
    """UTF-16 transcoded. A lone surrogate or half a character becomes bytes that are no UTF-8, as in the file."""

    def __init__(self, raw: RawFile, codec: str, piece_bytes: int = PIECE_BYTES) -> None:
        self._raw = raw
        self._codec = codec
        self._piece_bytes = piece_bytes
        # Where pieces begin: in the text, and in the file (after the mark of two bytes).
        self._text_marks, self._raw_marks = [0], [2]
        self._last = (0, b"")

    def read(self, position: int) -> bytes:
        """See `Text`."""
        start, piece = self._last
        while not start <= position < start + len(piece):
            mark = bisect_right(self._text_marks, position) - 1
            start = self._text_marks[mark]
            piece = self._transcode(mark)
            self._last = (start, piece)
            if not piece:
                return b""
        return piece[position - start :]

    def _transcode(self, mark: int) -> bytes:
        """The piece that begins at a mark; notes where the next one does."""
        at = self._raw_marks[mark]
        data = self._raw.read(at, self._piece_bytes)
        last = at + len(data) >= self._raw.size
        decoder = codecs.getincrementaldecoder(self._codec)("surrogatepass")
        text = decoder.decode(data)
        left, _ = decoder.getstate()
        piece = text.encode("utf-8", "surrogatepass")
        if last:
            piece, left = piece + b"\xff" * len(left), b""
        if data and mark + 1 == len(self._text_marks):
            self._text_marks.append(self._text_marks[mark] + len(piece))
            self._raw_marks.append(at + len(data) - len(left))
        return piece


class CarriageReturnText:
    """Text whose lines end in a carriage return alone, as classic Mac OS wrote them; seen with line feeds instead."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def read(self, position: int) -> bytes:
        """See `Text`."""
        return self._text.read(position).replace(b"\r", b"\n")


def open_text(raw: RawFile, piece_bytes: int = PIECE_BYTES) -> Text:
    """The text of a file, by its byte order mark. Raises `InputError` for an empty file and for what is no text."""
    head = raw.read(0, HEAD_BYTES)
    for magic, sentence in _FOREIGN:
        if head.startswith(magic):
            raise InputError(f"{raw.name} {sentence}")
    if head.startswith(codecs.BOM_UTF8):
        return Utf8Text(raw, len(codecs.BOM_UTF8), piece_bytes)
    if head.startswith(codecs.BOM_UTF16_LE):
        return Utf16Text(raw, "utf-16-le", piece_bytes)
    if head.startswith(codecs.BOM_UTF16_BE):
        return Utf16Text(raw, "utf-16-be", piece_bytes)
    if _looks_like_utf16(head):
        raise InputError(f"{raw.name} looks like UTF-16 without a byte order mark; save it as UTF-8")
    return Utf8Text(raw, 0, piece_bytes)


def _looks_like_utf16(head: bytes) -> bool:
    """Whether every other byte of a Western text is zero; a NUL here and there is a fault of single rows instead."""
    pairs = len(head) // 2
    return pairs >= 2 and max(head[0::2].count(0), head[1::2].count(0)) > pairs // 2
