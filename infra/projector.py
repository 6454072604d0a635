"""The projector: takes the log's events into the views.

Each view has a checkpoint of its own. Views that are at the same position share the reading and decoding of the
events; one that is rebuilt goes by itself until it has caught up, and then they go together.

Crash story.
1. Checkpoint, events and the rows they concern are read first, each for itself. Nothing is written and no row locked,
   so the log's line is not held back.
2. One transaction a view moves its checkpoint from where it was read, and writes its rows. A crash leaves both or
   neither, and a lost answer does not matter: the checkpoint is read anew.
3. If somebody else moved the checkpoint, or emptied the view for a rebuild, the transaction is left and its rows are
   dropped: they are somebody else's already. Any number of projectors may run.
4. A view that meets an event it cannot take in takes in those before it and stops. It says so in its row of
   haulage.projections; the others go on. A new process tries again, since it may be a newer version of Haulage.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from haulage.domain.errors import HaulageError, NotFoundError
from haulage.domain.event import Recorded
from haulage.infra.postgres import checkpoints
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import UndecodableEventError
from haulage.infra.postgres.views import places
from haulage.infra.postgres.views.places import Place, ProjectionStatus
from haulage.infra.postgres.views.projection import PROJECTIONS, Projection

GROUP_EVENTS = 5_000
"""Events taken in at a time. Smaller groups cost more each, larger ones do not fit the processor's cache."""

GROUP_BYTES = 4 << 20
"""Stored bytes of the events taken in at a time. In memory they are ten times as much."""

REBUILD_WAIT_SECONDS = 5.0
"""How long emptying a view waits for those who read it; meanwhile nobody else can begin to."""

_log = structlog.get_logger("haulage.projector")


class _Overtaken(Exception):  # noqa: N818 - not an error: somebody else did it
    """The view is not where it was when it was read."""


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Why events can't be taken in, and how many of them come before what is in the way."""

    events_before: int
    error: Exception


class Projector:
    """Keeps `projections` up with the log. One object for one thread; several may run side by side.

    A group of events is as large as `group_events` and `group_bytes` (stored) allow, and at least one event.
    """

    def __init__(
        self,
        database: Database,
        log: PostgresLog,
        projections: Sequence[Projection] = PROJECTIONS,
        *,
        group_events: int = GROUP_EVENTS,
        group_bytes: int = GROUP_BYTES,
        rebuild_wait_seconds: float = REBUILD_WAIT_SECONDS,
    ) -> None:
        self._database = database
        self._log = log
        self._projections = {projection.name: projection for projection in projections}
        self._group_events = group_events
        self._group_bytes = group_bytes
        self._rebuild_wait_seconds = rebuild_wait_seconds
        # Where projections stopped. Tried again only once they are elsewhere: after a rebuild, or by somebody newer.
        self._stopped: dict[str, Place] = {}

    def run_once(self) -> int:
        """Take the next group of events into each view; how many events were read, 0 when all are up with the log.

        A view that can't go on is not an error here: see `status`.
        """
        with _uncollected(), self._database.connection() as connection:
            together = self._together(connection)
            read = 0
            for position in sorted(together):
                until = min((other for other in together if other > position), default=None)
                events = self._read(connection, position, together[position], until)
                read += len(events)
                arrived = self._take_in(connection, together[position], events)
                if until is not None and events and events[-1].position == until:
                    together[until] |= arrived
            return read

    def catch_up(self) -> int:
        """Take in all there is; how many events were read."""
        total = 0
        while read := self.run_once():
            total += read
        return total

    def rebuild(self, name: str) -> None:
        """Empty a view and send it back to the first event, whoever else is running; `run_once` does the rest.

        NotFoundError: there is no such projection. BusyError: somebody goes on reading the view; repeat it.
        """
        if name not in self._projections:
            known = ", ".join(self._projections)
            raise NotFoundError(f"There is no projection `{name}`; there are: {known}.")
        with self._database.transaction() as connection:
            wait = f"{int(self._rebuild_wait_seconds * 1000)}ms"
            connection.execute("select set_config('lock_timeout', %s, true)", (wait,))
            # First of all, and as the projectors do: who holds the checkpoint holds the view.
            checkpoints.reset(connection, name)
            places.begin_generation(connection, name)
            self._projections[name].rows.TABLE.empty(connection)

    def status(self) -> list[ProjectionStatus]:
        """Where each projection is, how far behind the log, and what stopped it."""
        with self._database.connection() as connection:
            return places.status(connection, self._projections)

    # -- one group of events -------------------------------------------------------------------------------------------
    def _together(self, connection: Connection[Any]) -> dict[int, dict[str, Place]]:
        """Views that go on, by position."""
        together: dict[int, dict[str, Place]] = defaultdict(dict)
        for name, place in places.read(connection, self._projections).items():
            if self._stopped.get(name) != place:
                together[place.position][name] = place
        return together

    def _read(
        self, connection: Connection[Any], position: int, views: dict[str, Place], until: int | None
    ) -> Sequence[Recorded]:
        """The next events, up to where the views before these are; none where `views` stop at the very next one."""
        limit = self._group_events
        while True:
            try:
                events = self._log.read(connection, position, limit, self._group_bytes)
                return [event for event in events if event.position <= until] if until else events
            except UndecodableEventError as error:
                if limit == 1:
                    for name, place in views.items():
                        self._stop(connection, name, place, error.position or position, error)
                    return []
                # Those before it can be read: it is found by halves.
                limit //= 2

    def _take_in(
        self, connection: Connection[Any], views: dict[str, Place], events: Sequence[Recorded]
    ) -> dict[str, Place]:
        """Take `events` into each of `views`; where those are now that took in all of them."""
        if not events:
            return {}
        return {
            name: Place(events[-1].position, place.generation)
            for name, place in views.items()
            if self._take_into(connection, name, place, events)
        }

    def _take_into(self, connection: Connection[Any], name: str, place: Place, events: Sequence[Recorded]) -> bool:
        """Whether all `events` were taken in, and not only those before one that can't be."""
        rest = events
        while obstacle := self._try(connection, name, place, rest):
            if obstacle.events_before == 0:
                self._stop(connection, name, place, rest[0].position, obstacle.error)
                return False
            # What the attempt made of the rows is not kept: they are read again.
            rest = rest[: obstacle.events_before]
        return len(rest) == len(events)

    def _try(
        self, connection: Connection[Any], name: str, place: Place, events: Sequence[Recorded]
    ) -> _Obstacle | None:
        projection = self._projections[name]
        views = projection.rows.load(connection, events)
        known = frozenset(views)
        for index, event in enumerate(events):
            try:
                views = projection.fold(views, event)
            except Exception as error:  # noqa: BLE001 - whatever it is, this view stops here and the others go on
                return _Obstacle(index, error)
        try:
            with connection.transaction():
                if self._move(connection, name, place, events[-1].position):
                    places.go_on(connection, name)
                projection.rows.save(connection, views, known)
        except _Overtaken:
            _log.debug("somebody else was faster", projection=name, position=place.position)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # It does not say which event's row it was: halves tell.
            return _Obstacle(len(events) // 2, error)
        return None

    def _stop(self, connection: Connection[Any], name: str, place: Place, position: int, error: Exception) -> None:
        try:
            with connection.transaction():
                self._move(connection, name, place, place.position)
                places.stop(connection, name, position, _explained(name, position, error))
        except _Overtaken:
            # The view was emptied while its rows were being read, and the error may come from that.
            return
        self._stopped[name] = place
        _log.error("projection stopped", projection=name, position=position, why=str(error))

    @staticmethod
    def _move(connection: Connection[Any], name: str, place: Place, position: int) -> bool:
        """Move the checkpoint within the open transaction; whether the projection is said to have stopped.

        _Overtaken: the view is not at `place` any more.
        """
        if not checkpoints.advance(connection, name, place.position, position):
            raise _Overtaken
        # It may have been emptied and come back to the same position. Who holds the checkpoint is alone with it.
        generation, stopped = places.held(connection, name)
        if generation != place.generation:
            raise _Overtaken
        return stopped


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, for one group: events and rows have no cycles to be found.

    It would walk through tens of thousands of them again and again, for a third of the whole time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _explained(name: str, position: int, error: Exception) -> str:
    if isinstance(error, HaulageError):
        return str(error)
    return (
        f"The projection `{name}` could not take in the event at position {position}: {type(error).__name__}: {error}. "
        f"This is a fault of Haulage; please report it. With a version without it, the projection goes on by itself."
    )
