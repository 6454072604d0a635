"""Faulty items: what is kept of a place in the input that could not be parsed."""

import orjson

KEPT_BYTES = 1 << 16
"""How much of the raw text is kept, so that a person sees what it was."""


def fault(code: str, raw: bytes) -> bytes:
    """The content of a faulty item: a JSON string of the code, a line feed and the raw text without its line's end.

    Bytes that are no UTF-8 are shown as `\\xNN`.
    """
    kept = raw[:KEPT_BYTES]
    if len(raw) > KEPT_BYTES:
        # Not in the middle of a character.
        while kept and raw[len(kept)] & 0xC0 == 0x80:
            kept = kept[:-1]
    text = kept.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    return orjson.dumps(f"{code}\n{text}")


def is_utf8(data: bytes) -> bool:
    """Whether `data` is valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
