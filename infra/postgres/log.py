"""The log on PostgreSQL: append, read, and how far reading is safe. migrations/0001_log.sql tells how it works.

Everything takes the caller's connection (with tuple rows), so that effects and events are one transaction. Whoever
reacts to events reads them before its transaction first writes or locks a row: then its own events come after those
it reacted to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from psycopg import Connection

from haulage.domain.event import NewEvents, Recorded
from haulage.infra.postgres import append, history
from haulage.infra.postgres.mapper import EventMapper

_COLUMNS = "originator_id, originator_version, topic, state, notification_id, recorded_at"
_READ = f"""
select {_COLUMNS} from haulage.events
where notification_id > %s and notification_id < haulage.horizon() order by notification_id limit %s
"""  # noqa: S608 - only our own column names are put in
_READ_BYTES = f"""
select {_COLUMNS} from (
    select {_COLUMNS}, sum(octet_length(state)) over (order by notification_id rows unbounded preceding)
        - octet_length(state) as bytes_before
    from haulage.events
    where notification_id > %s and notification_id < haulage.horizon() order by notification_id limit %s
) as e where bytes_before < %s order by notification_id
"""  # noqa: S608
_STREAM = f"""
select {_COLUMNS} from haulage.events
where originator_id = %s and originator_version > %s order by originator_version
"""  # noqa: S608
_STREAMS = f"""
select {_COLUMNS} from haulage.events
where originator_id = any(%b::uuid[]) order by originator_id, originator_version
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Prepared:
    """Events with their ids and bytes fixed, so that every attempt to append them is the same append."""

    events: tuple[StoredEvent, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """The oldest open transaction that has written: no follower sees what came after it began."""

    seconds: float
    backend: int | None
    application_name: str | None
    database: str


class PostgresLog:
    """The log, with `mapper` for its events."""

    def __init__(self, mapper: EventMapper) -> None:
        self._mapper = mapper

    def prepare(self, new: Sequence[NewEvents]) -> Prepared:
        """Give the events ids. Once per attempt of a command or a chunk, not once per transaction."""
        mapper = self._mapper
        return Prepared(tuple(mapper.to_stored_event(event) for some in new for event in mapper.stream_events(some)))

    def append(self, connection: Connection[Any], prepared: Prepared) -> list[int]:
        """Append in the open transaction, in one statement; the positions, in order.

        ConflictError: a stream's last version is not the expected one. It may be ours, if the answer to an earlier
        commit was lost: roll back, and ask `was_recorded`. LateAppendError: roll back and repeat in a new transaction.
        """
        return append.append(connection, prepared.events)

    def was_recorded(self, connection: Connection[Any], prepared: Prepared) -> list[int] | None:
        """The positions if an earlier attempt to append `prepared` was committed, else None.

        Final after a ConflictError. Before one, None can also mean that the earlier transaction is still ending.
        """
        return append.was_recorded(connection, prepared.events)

    def read(self, connection: Connection[Any], after: int, limit: int, max_bytes: int | None = None) -> list[Recorded]:
        """At most `limit` events after the position `after`, oldest first; none can appear among them later.

        With `max_bytes` also no more than reach so many stored bytes, but at least one: bounds the reader's memory.
        """
        if max_bytes is None:
            return self._recorded(connection, _READ, (after, limit))
        return self._recorded(connection, _READ_BYTES, (after, limit, max_bytes))

    def stream(self, connection: Connection[Any], stream: UUID, after: int = 0) -> list[Recorded]:
        """The events of one stream after the version `after`, those of the open transaction included."""
        return self._recorded(connection, _STREAM, (stream, after))

    def streams(self, connection: Connection[Any], streams: Iterable[UUID]) -> dict[UUID, list[Recorded]]:
        """The events of several streams in one statement; a stream without events has an empty list."""
        found: dict[UUID, list[Recorded]] = {stream: [] for stream in streams}
        for recorded in self._recorded(connection, _STREAMS, (list(found),)):
            found[recorded.stream].append(recorded)
        return found

    def head(self, connection: Connection[Any]) -> int:
        """The last position that `read` would give; 0 for an empty log."""
        query = "select max(notification_id) from haulage.events where notification_id < haulage.horizon()"
        return int(_value(connection, query) or 0)

    def horizon(self, connection: Connection[Any]) -> int:
        """The line below which nothing can appear any more, as a position. It moves on with every transaction."""
        return int(_value(connection, "select haulage.horizon()"))

    def holder(self, connection: Connection[Any]) -> Holder | None:
        """Who holds the horizon back at the moment, anywhere in the cluster."""
        row = connection.execute("select * from haulage.horizon_holder()").fetchone()
        return Holder(*row) if row else None

    def line_age_seconds(self, connection: Connection[Any]) -> float:
        """For how long the horizon has been held back: the age of the oldest open transaction that has written."""
        holder = self.holder(connection)
        return holder.seconds if holder else 0.0

    def epoch(self, connection: Connection[Any]) -> int:
        """The history's epoch, which every message carries."""
        return history.epoch(connection)

    def _recorded(self, connection: Connection[Any], query: str, parameters: tuple[Any, ...]) -> list[Recorded]:
        recorded = self._mapper.recorded
        rows = connection.execute(query.encode(), parameters, prepare=True, binary=True)
        return [recorded(*row) for row in rows]


def _value(connection: Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
