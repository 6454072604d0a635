"""Times as people type them."""

import re
from datetime import UTC, datetime, timedelta

from haulage.infra.cli.failures import UsageError

_AGO = re.compile(r"(\d+)\s*(s|min|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime | None = None) -> datetime:
    """A time: ISO 8601 (`2026-11-20T14:00`, in this machine's zone unless it names one), or how long ago (`2h`, `3d`).

    A date alone is its beginning. UsageError for anything else.
    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"`{text}` is no time. Write it like 2026-11-20T14:00, 2026-11-20T14:00Z or 2026-11-20, or `2h` for two "
            "hours ago."
        ) from None
