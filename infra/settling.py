"""Settling: after a restore or a failover, positions go on above everything that anybody can have seen.

The database knows by itself when it lives somewhere else; only the bus knows what was published before. Until it is
settled, appends are refused and everybody waits.
"""

import structlog

from haulage.domain.errors import NotReachableError
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.event_stream import EventStream
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.history import settle_history

_log = structlog.get_logger("haulage.settling")


class Settling:
    """`run_once` settles the history where need be."""

    def __init__(self, database: Database, bus: Bus, stream: EventStream) -> None:
        self._database = database
        self._bus = bus
        self._stream = stream

    def run_once(self) -> int:
        """1 where a new epoch had to begin, else 0."""
        above = self._last_published()
        with self._database.connection() as connection:
            settled = settle_history(connection, above)
        if settled:
            _log.warning("the history goes on in another place: a new epoch has begun", above=above)
        return int(settled)

    def _last_published(self) -> int | None:
        if not self._bus.connected:
            return None
        try:
            return self._bus.call(self._stream.last_position())
        except NotReachableError:
            return None
