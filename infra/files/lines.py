"""The physical lines of a text, in bounded memory.

There is always a place, and some lines after it that are in hand. A line longer than the limit is never taken into
memory: `line` answers `TOO_LONG`, and whoever reads goes past it by position.
"""

import re
from collections.abc import Iterator
from typing import Final

from haulage.infra.files.text import Text

MAX_ROW_BYTES = 1 << 17
"""The longest row that becomes an item. The csv module's own limit for one value is the same, so it never strikes."""

TOO_LONG: Final = b""
"""Stands for a line that is not taken into memory. No real line is empty, since each has its end."""

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


class Lines:
    """Lines of `text` from `position` on, each with its end: `\\n`, `\\r\\n`, and, with `bare_returns`, `\\r` alone.

    `in_hand[index]` is the next line; the lines from there on are complete and within the limit. `position` is where
    the next line begins.
    """

    def __init__(
        self, text: Text, position: int = 0, *, bare_returns: bool = False, limit: int = MAX_ROW_BYTES
    ) -> None:
        self._text = text
        self._bare_returns = bare_returns
        self.limit = limit
        self.seek(position)

    def seek(self, position: int) -> None:
        """Go to `position`, where a line begins."""
        self.in_hand: list[bytes] = []
        self.index = 0
        self.position = position
        # What has been read but is not in hand: an incomplete line, or one too long and what follows it.
        self._rest = b""
        self._read = position

    def advance(self, count: int) -> None:
        """Go past `count` lines, which must be in hand."""
        self.position += sum(map(len, self.in_hand[self.index : self.index + count]))
        self.index += count

    def line(self, ahead: int = 0) -> bytes | None:
        """The line `ahead` lines after the next one; `TOO_LONG`; or None at the end of the text.

        May read, and then numbers the lines in hand anew: `index` becomes 0.
        """
        while self.index + ahead >= len(self.in_hand):
            if not self._load():
                return TOO_LONG if self._rest else None
        return self.in_hand[self.index + ahead]

    def pieces(self) -> Iterator[bytes]:
        """The text from `position` to its end, in pieces of bounded size; the place stays where it is."""
        # Mostly the first two or three of thousands of lines are wanted; if not, then many.
        index, count = self.index, 2
        while index < len(self.in_hand):
            yield b"".join(self.in_hand[index : index + count])
            index, count = index + count, count * 4
        if self._rest:
            yield self._rest
        at = self._read
        while piece := self._text.read(at):
            yield piece
            at += len(piece)

    def head(self, size: int) -> bytes:
        """The next `size` bytes, or what there is; the place stays where it is."""
        pieces: list[bytes] = []
        missing = size
        for piece in self.pieces():
            pieces.append(piece)
            missing -= len(piece)
            if missing <= 0:
                break
        return b"".join(pieces)[:size]

    def after_line(self) -> int:
        """Where the line after the next one begins, however long that one is."""
        at = self.position
        for piece in self.pieces():
            found = piece.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(piece)
        return at

    def _load(self) -> bool:
        """Bring more lines in hand; False where the text ends or the next line is too long."""
        while True:
            complete = self._rest.rfind(b"\n") + 1
            if complete:
                return self._take_in(complete)
            if len(self._rest) > self.limit:
                return False
            piece = self._text.read(self._read)
            if not piece:
                return self._take_in(len(self._rest))
            self._read += len(piece)
            self._rest += piece

    def _take_in(self, size: int) -> bool:
        """Split the first `size` bytes of the rest into lines, up to the first that is too long."""
        data = self._rest[:size]
        lines = data.splitlines(True) if self._bare_returns or b"\r" not in data else _LINE.findall(data)
        if max(map(len, lines), default=0) > self.limit:
            lines = lines[: next(i for i, line in enumerate(lines) if len(line) > self.limit)]
            size = sum(map(len, lines))
        self._rest = self._rest[size:]
        del self.in_hand[: self.index]
        self.in_hand += lines
        self.index = 0
        return bool(lines)
