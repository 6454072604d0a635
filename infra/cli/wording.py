"""How numbers, times and statuses are written for people."""

import os
from datetime import datetime
from pathlib import Path

from haulage.domain.status import Status


def number(count: float | None) -> str:
    """With separators: 1,234,567; `–` where it is not known."""
    return "–" if count is None else f"{count:,.0f}"


def items(count: int) -> str:
    """`1 item`, `2,000 items`."""
    return f"{count:,} item" if count == 1 else f"{count:,} items"


def rate(per_second: float | None) -> str:
    """Items a second."""
    return "" if per_second is None else f"{number(per_second)}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3:05`, `2:03:05`, `3 d 4 h`; `–` where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def when(at: datetime | None) -> str:
    """In the reader's own time zone, to the second."""
    return "–" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def when_clock(seconds: float) -> str:
    """The same for seconds of the wall clock."""
    return when(datetime.fromtimestamp(seconds).astimezone())


def status(value: str) -> str:
    """`completed with rejects`."""
    return value.replace("_", " ")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def raw(content: object) -> str:
    """An item that has no columns, on one line."""
    if content is None:
        return "(erased)"
    if isinstance(content, list):
        return " | ".join(map(str, content))
    # What could not be parsed is its code, a line feed, then the text.
    return str(content).partition("\n")[2] or str(content)


STYLES: dict[str, str] = {
    Status.COMPLETED: "green",
    Status.COMPLETED_WITH_REJECTS: "yellow",
    Status.FAILED: "red",
    Status.NEEDS_ATTENTION: "red",
    Status.PAUSED: "yellow",
    Status.PAUSING: "yellow",
}
"""Colours of statuses, where there are colours."""
