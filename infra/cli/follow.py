"""Following operations until they rest. The database is looked at a few times a second and is the truth throughout.

Crash story. Nothing is kept here, so nothing can be lost: whatever goes away is waited for, and looked at again when it
is back. Where the view of the progress does not move, the operation's own stream is looked at, so that a projection
that has stopped can't keep anybody waiting for an operation that has ended.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from haulage.domain.errors import HaulageError, NotReachableError
from haulage.domain.status import RESTS, Status
from haulage.infra.bootstrap import Parts
from haulage.infra.cli.bar import Bar, short
from haulage.infra.cli.failures import TimeOutError
from haulage.infra.postgres import checkpoints, views
from haulage.projections import progress as progress_view
from haulage.projections.progress import Progress

LOOK_EVERY_SECONDS = 0.2
FIRST_LOOKS_SECONDS = 0.03
"""Small operations are over in a moment: for the first second we look more often."""

DOUBT_AFTER_SECONDS = 2.0
"""When the view has not moved for so long, the log is asked, too."""

VIEWS_WITHIN_SECONDS = 10.0
"""How long an ended operation's views may take to say so before the log's word has to do."""


@dataclass(slots=True)
class _Followed:
    """One operation as it was seen last, and when it was last seen to move (on our own, steady clock)."""

    progress: Progress | None = None
    moved: float = 0.0
    ended: Progress | None = None
    ended_seen: float = 0.0

    def see(self, progress: Progress) -> None:
        if self.progress is None or progress.position != self.progress.position:
            self.moved = time.monotonic()
        self.progress = progress

    @property
    def now(self) -> datetime:
        """The database's clock: when the last event happened, and the time since we saw it."""
        assert self.progress is not None
        return self.progress.updated_at + timedelta(seconds=time.monotonic() - self.moved)

    def result(self) -> Progress | None:
        if self.progress is not None and self.progress.status in RESTS:
            return self.progress
        if self.ended is not None and time.monotonic() - self.ended_seen > VIEWS_WITHIN_SECONDS:
            return self.ended
        return None


def follow(
    parts: Parts,
    operations: Sequence[UUID],
    bar: Bar,
    *,
    time_out: float | None = None,
    patience: float = 120.0,
    look_after: Callable[[], None] = lambda: None,
) -> dict[UUID, Progress]:
    """Show the operations until all of them rest; how each of them does.

    `look_after` is called at every look, to keep running what they need. Raises TimeOutError after `time_out` seconds,
    NotReachableError where the database was away for `patience` seconds.
    """
    begun = reached = time.monotonic()
    followed = {operation: _Followed(moved=begun) for operation in operations}
    while True:
        look_after()
        try:
            results = _look(parts, followed, bar)
            reached = time.monotonic()
            bar.say(_paused(followed))
        except HaulageError as error:
            if time.monotonic() - reached > patience:
                raise NotReachableError(f"{error} What was begun goes on when it is back.") from error
            bar.say(f"Waiting: {error}")
            results = {}
        if len(results) == len(followed):
            return results
        if time_out is not None and time.monotonic() - begun > time_out:
            raise TimeOutError(_still_going(followed))
        time.sleep(LOOK_EVERY_SECONDS if time.monotonic() - begun > 1 else FIRST_LOOKS_SECONDS)


def wait_for_view(parts: Parts, name: str, position: int) -> bool:
    """Wait for the view `name` to know everything up to `position`; whether it did in time."""
    deadline = time.monotonic() + VIEWS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        with suppress(NotReachableError), parts.database.connection() as connection:
            if checkpoints.read(connection, name) >= position:
                return True
        time.sleep(FIRST_LOOKS_SECONDS)
    return False


def progress_from_log(parts: Parts, operation: UUID) -> Progress | None:
    """What the operation's own stream says: its status and, once a step is complete, its counts."""
    found: progress_view.Views = {}
    for recorded in parts.store.stream(operation):
        progress_view.fold(found, recorded)
    return found.get(operation)


def _look(parts: Parts, followed: dict[UUID, _Followed], bar: Bar) -> dict[UUID, Progress]:
    with parts.database.connection() as connection:
        for operation, seen in followed.items():
            if seen.result() is None and (progress := views.progress(connection, operation)):
                seen.see(progress)
    for operation, seen in followed.items():
        if seen.result() is None and time.monotonic() - seen.moved > DOUBT_AFTER_SECONDS:
            _ask_the_log(parts, operation, seen)
        if seen.progress is not None:
            bar.show(seen.progress, seen.now)
    return {operation: found for operation, seen in followed.items() if (found := seen.result())}


def _ask_the_log(parts: Parts, operation: UUID, seen: _Followed) -> None:
    if seen.ended is None:
        known = progress_from_log(parts, operation)
        if known is not None and known.status in RESTS:
            seen.ended, seen.ended_seen = known, time.monotonic()


def _paused(followed: dict[UUID, _Followed]) -> str:
    """What to do about a pause, which nobody but a person ends; empty where nothing is paused."""
    for operation, seen in followed.items():
        if seen.progress is not None and seen.progress.status is Status.PAUSED:
            return f"Paused. `haulage resume {short(operation)}` lets it go on."
    return ""


def _still_going(followed: dict[UUID, _Followed]) -> str:
    going = [str(operation) for operation, seen in followed.items() if seen.result() is None]
    which = f"Operation {going[0]}" if len(going) == 1 else f"{len(going)} operations"
    return f"{which} had not ended when the time was over."
