"""The estimate: how long an operation still takes, and how sure that is.

Nothing is said where nothing is known: before the plan, in the first moments of a step, while paused, after a silence
that the pace does not explain. Time in which an operation was paused does not count, neither before nor after.
"""

from dataclasses import dataclass
from datetime import datetime
from math import exp, sqrt

from haulage.domain.status import Status
from haulage.projections.progress import Progress

MIN_CHUNKS = 3
"""Fewer say nothing about a pace."""

SILENT_SECONDS = 15.0
SILENT_CHUNKS = 10.0
"""No chunk for this long, and for the usual time of this many: it stands still, and nobody knows until when."""

_P90 = 1.2816
"""The 90th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds to the end of the present step, or of the rollback.

    `p50_seconds` is as likely too short as too long, `p90_seconds` is enough nine times out of ten if the pace goes on
    varying as it did. `later_steps` come after it and are not included: their pace is not known.
    """

    p50_seconds: float
    p90_seconds: float
    later_steps: int


def estimate(progress: Progress, now: datetime | None = None) -> Estimate | None:
    """What is left as of `now` (default: as of the last event), or None where that can't be known.

    The rate is taken as log-normal. Both the recent one and the one to come stray from the steady one by the spread
    that was measured, hence twice the variance between them.
    """
    remaining = remaining_items(progress)
    rate = progress.pace.rate
    if remaining is None or rate is None or progress.working_since is None or rate <= 0.0:
        return None
    silent = max(0.0, (now - progress.working_since).total_seconds()) if now else 0.0
    if _knows_too_little(progress) or _stands_still(progress, silent):
        return None
    p50 = max(0.0, remaining / rate - silent)
    return Estimate(p50, p50 * exp(_P90 * sqrt(2.0 * progress.pace.spread)), _later_steps(progress))


def remaining_items(progress: Progress) -> int | None:
    """Items the present step, or the rollback, still has before it; None where it is not on its way to its end."""
    if progress.status is Status.ROLLING_BACK:
        return max(0, progress.applied - progress.compensated)
    if progress.status is Status.RUNNING and progress.total is not None:
        return max(0, progress.total - progress.done)
    return None


def _knows_too_little(progress: Progress) -> bool:
    return progress.pace.all_chunks < MIN_CHUNKS


def _stands_still(progress: Progress, silent_seconds: float) -> bool:
    usual = progress.pace.chunk_seconds
    return silent_seconds > max(SILENT_SECONDS, SILENT_CHUNKS * usual)


def _later_steps(progress: Progress) -> int:
    if progress.status is Status.ROLLING_BACK or progress.step not in progress.steps:
        return 0
    return len(progress.steps) - progress.steps.index(progress.step) - 1
