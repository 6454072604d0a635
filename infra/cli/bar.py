"""How far operations are, on standard error: bars at a terminal, and elsewhere a plain line now and then."""

import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self
from uuid import UUID

from haulage.domain.status import RESTS, Status
from haulage.infra.cli import wording
from haulage.projections.estimate import estimate
from haulage.projections.progress import Progress

if TYPE_CHECKING:
    import rich.progress

PLAIN_EVERY_SECONDS = 3.0


class Bar(Protocol):
    """Shows operations until its block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: Progress, now: datetime) -> None:
        """How far an operation is `now`, by the database's clock; again and again, for any number of operations."""

    def say(self, text: str) -> None:
        """A line about the following itself, such as what it waits for. The same line again is not repeated."""


def make_bar() -> Bar:
    """What fits standard error."""
    return LiveBar() if sys.stderr.isatty() else PlainBar()


class LiveBar:
    """One bar an operation, drawn in place."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        from haulage.infra.cli.terminal import err

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[tail]}", markup=False),
            console=err(),
            expand=True,
            refresh_per_second=8,
            redirect_stdout=False,
        )
        self._tasks: dict[UUID, rich.progress.TaskID] = {}
        self._said = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._bars.tasks:
            # What is not known stands still now: nothing looks at it any more.
            self._bars.update(task.id, total=task.total or 1)
        self._bars.stop()

    def show(self, progress: Progress, now: datetime) -> None:
        """Draw it anew."""
        done, total = extent(progress)
        if progress.operation not in self._tasks:
            self._tasks[progress.operation] = self._bars.add_task(progress.kind, total=None, tail="")
        tail = "  ".join(tail_of(progress, now))
        self._bars.update(self._tasks[progress.operation], completed=done, total=total, tail=tail)

    def say(self, text: str) -> None:
        """Above the bars."""
        if text and text != self._said:
            self._bars.console.print(text)
        self._said = text


class PlainBar:
    """A line where the status changes, and else at most every few seconds."""

    def __init__(self) -> None:
        self._shown: dict[UUID, tuple[Status, float]] = {}
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, progress: Progress, now: datetime) -> None:
        """Print a line, if it is time for one."""
        status, at = self._shown.get(progress.operation, (None, 0.0))
        clock = time.monotonic()
        if status is progress.status and (clock - at < PLAIN_EVERY_SECONDS or status in RESTS):
            return
        self._shown[progress.operation] = (progress.status, clock)
        tail = ", ".join(tail_of(progress, now, always_status=True))
        _line(f"{progress.kind} {short(progress.operation)}: {tail}")

    def say(self, text: str) -> None:
        """A line of its own."""
        if text and text != self._said:
            _line(text)
        self._said = text


def short(operation: UUID) -> str:
    """The beginning of an id, as far as it tells one millisecond from another: enough to type, hardly ever shared."""
    return str(operation)[:13]


def extent(progress: Progress) -> tuple[int, int | None]:
    """(done, of how many): of the items, or, while rolling back, of what has to be compensated."""
    if progress.status is Status.ROLLING_BACK:
        return progress.compensated, progress.applied
    return progress.done, progress.total


def tail_of(progress: Progress, now: datetime, *, always_status: bool = False) -> Iterable[str]:
    """What is said beside a bar, part by part."""
    done, total = extent(progress)
    if always_status or progress.status is not Status.RUNNING:
        yield wording.status(progress.status)
    if total is not None:
        yield f"{done:,}/{total:,}"
    if progress.status not in RESTS and progress.working_since is not None and progress.pace.rate:
        yield wording.rate(progress.pace.rate)
    if left := remaining(progress, now):
        yield left
    if progress.rejected:
        yield f"{progress.rejected:,} rejected"


def remaining(progress: Progress, now: datetime) -> str:
    """`0:40–1:05 left`: as likely too short as too long, and enough nine times out of ten. Empty where unknown."""
    found = estimate(progress, now)
    if found is None:
        return ""
    low, high = wording.duration(found.p50_seconds), wording.duration(found.p90_seconds)
    later = f" of step {progress.step}" if found.later_steps else ""
    return f"{low if low == high else f'{low}–{high}'} left{later}"


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is how the command line speaks
