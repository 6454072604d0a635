"""Where a CSV row that spans several lines ends, found without taking it into memory.

The same states as the csv module's reader has when it is strict, but values are only counted: a quote opens a value at
its beginning only, two of them inside stand for one, and a closing one is followed by a delimiter or the line's end.
"""

import re
from collections.abc import Iterable

_QUOTE = ord('"')
_INSIDE_QUOTES = re.compile(rb'(?:[^"]++|"")*+')


def row_length(pieces: Iterable[bytes], delimiter: bytes, width: int) -> int | None:
    """The bytes from the row's start, where `pieces` begin, to just after its line's end.

    None where it has not `width` values, or a quote is not closed properly. Reads no further than needed to know.
    """
    stop = re.compile(b"[\r\n" + re.escape(delimiter) + b"]")
    values, quoted, begins = 1, False, True
    passed, data, at = 0, b"", 0
    for piece in pieces:
        passed += at
        data, at = data[at:] + piece, 0
        while at < len(data):
            if quoted:
                at = _INSIDE_QUOTES.match(data, at).end()  # type: ignore[union-attr]  # matches nothing, at worst
                if at >= len(data) - 1:
                    # All of it is inside the quotes, or the last byte is a quote that may be the first of two.
                    break
                quoted, at = False, at + 1
                if not stop.match(data, at):
                    return None
            elif begins and data[at] == _QUOTE:
                quoted, begins, at = True, False, at + 1
            else:
                found = stop.search(data, at)
                at, begins = (found.end(), True) if found else (len(data), False)
                if found and found[0] != delimiter:
                    at += found[0] == b"\r" and data[at : at + 1] == b"\n"
                    return passed + at if values == width else None
                values += found is not None
                if values > width:
                    return None
    closed = not quoted or data[at:] == b'"'
    return passed + len(data) if closed and values == width else None
