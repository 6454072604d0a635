"""Items from NDJSON: one JSON object a line; a content is the line as it is, without the space around it."""

from collections.abc import Iterator
from typing import Any

import orjson

from haulage.infra.files.faults import fault, is_utf8
from haulage.infra.files.lines import Lines
from haulage.infra.files.rejects import original

TAKE_BYTES = 1 << 20
"""Input taken at once, about: bounds the memory where lines are long."""

RUN_LINES = 64
"""Lines tried at once."""

MAX_DEPTH = 100
"""Levels of nesting. orjson reads 1,024 and writes 254, and an item must survive both inside a block."""


class NdjsonSource:
    """The lines of an NDJSON file. `of_rejects`: it is a rejects file that came back, with our fields in each line."""

    def __init__(self, lines: Lines, *, of_rejects: bool = False) -> None:
        self._lines = lines
        self._of_rejects = of_rejects

    @property
    def position(self) -> int:
        """Where the next line begins."""
        return self._lines.position

    def seek(self, position: int) -> None:
        """Go to `position`, where a line begins."""
        self._lines.seek(position)

    def take(self, count: int) -> list[bytes]:
        """The contents of up to `count` lines, and go past them. Empty only at the end."""
        lines, contents = self._lines, list[bytes]()
        stop = lines.position + TAKE_BYTES
        while len(contents) < count and (lines.position < stop or not contents):
            if lines.index >= len(lines.in_hand) and not (line := lines.line()):
                if line is None:
                    break
                contents.append(self._too_long())
                continue
            run = lines.in_hand[lines.index : lines.index + min(RUN_LINES, count - len(contents))]
            contents += self._plain_run(run) or self._line_by_line(run)
            lines.advance(len(run))
        return contents

    def _plain_run(self, run: list[bytes]) -> list[bytes] | None:
        """The contents of lines that are all objects without any peculiarity; None where one is not."""
        text = b"".join(run)
        # Each has one bracket at least, and one that is too deep has MAX_DEPTH more.
        deep = text.count(b"{") + text.count(b"[") >= len(run) + MAX_DEPTH
        if self._of_rejects or deep or b"\\u0000" in text:
            return None
        try:
            types = set(map(type, map(orjson.loads, run)))
        except orjson.JSONDecodeError:
            return None
        return list(map(bytes.strip, run)) if types == {dict} else None

    def _line_by_line(self, run: list[bytes]) -> list[bytes]:
        return [content for line in run if (content := self._content(line.strip()))]

    def _too_long(self) -> bytes:
        lines = self._lines
        raw = lines.head(lines.limit)
        lines.seek(lines.after_line())
        return fault("row_too_long", raw)

    def _content(self, line: bytes) -> bytes:
        """A line's content, or the fault it is; empty for a blank line."""
        if not line:
            return b""
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            return fault(_why_not_json(line), line)
        if type(value) is not dict:
            return fault("not_an_object", line)
        if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            return fault("too_deep", line)
        if b"\\u0000" in line and _has_nul(value):
            return fault("nul_byte", line)
        return orjson.dumps(original(value)) if self._of_rejects else line


def _why_not_json(line: bytes) -> str:
    if b"\0" in line:
        return "nul_byte"
    return "not_json" if is_utf8(line) else "not_utf8"


def _each(value: dict[str, Any] | list[Any]) -> Iterator[tuple[int, Any]]:
    """Everything in `value`, keys too, with the level it is at; without recursion, since depth is what is asked."""
    waiting: list[tuple[int, Any]] = [(1, value)]
    while waiting:
        level, inner = waiting.pop()
        yield level, inner
        if isinstance(inner, dict):
            waiting += [(level + 1, part) for pair in inner.items() for part in pair]
        elif isinstance(inner, list):
            waiting += [(level + 1, part) for part in inner]


def _depth(value: dict[str, Any]) -> int:
    return max(level for level, inner in _each(value) if isinstance(inner, (dict, list)))


def _has_nul(value: dict[str, Any]) -> bool:
    return any(isinstance(inner, str) and "\0" in inner for _, inner in _each(value))
