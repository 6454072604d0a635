"""The relay: publishes the log's events on the bus, in the log's order, each at least once.

One relay at a time holds the *term*: a session lock on a database connection of its own, which ends with it. The
others stand by. Should two believe in theirs (one was frozen, say), the stream takes the messages of one only: each
message names the sequence that must be before it.

Crash story. What the stream has is the truth; the checkpoint (position, sequence) is what it had when last looked at.
1. Died after publishing, before the checkpoint moved: the next one reads the stream's last message, and goes on there.
2. NATS was killed, or an older copy of its store was put back: it ends earlier than the checkpoint says. The events
   after its last message are published again.
3. The stream was deleted: it is made anew, and published from the beginning, but for what it would have dropped by
   age already.
4. It was emptied, by age or by hand: it still knows its last sequence, so nothing was lost.
5. Its last message is not in the log: the log was restored to an earlier point, or it is somebody else's message.
   The last one that is in the log counts; where none is found near the end, the checkpoint.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from haulage.domain.errors import HaulageError
from haulage.domain.event import Recorded
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.event_stream import LOOK_BACK_MESSAGES, EventStream, OutOfStepError, Published
from haulage.infra.nats.events import EventMessage, message
from haulage.infra.nats.streams import Streams
from haulage.infra.postgres import checkpoints
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import place as where
from haulage.infra.postgres.errors import translated
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import UndecodableEventError

POSITION_CHECKPOINT = "relay"
SEQUENCE_CHECKPOINT = "relay/sequence"

GROUP_EVENTS = 2_000
"""Published before an acknowledgement is awaited; JetStream itself lets 10,000 wait."""
GROUP_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 2048
"""More than the headers of an event ever take."""
LOOK_EVERY_SECONDS = 10.0
"""How often the stream is looked at while there is nothing to publish: somebody may have deleted it."""
PUBLISH_SECONDS = 30.0

_TERM = int.from_bytes(b"RELAY")
_log = structlog.get_logger("haulage.relay")


@dataclass(frozen=True, slots=True)
class Place:
    """Everything up to `position` is in the stream, which ends with `sequence`."""

    position: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Group:
    """The next events after the position `after`, up to `last`, as messages; of some there are none (see `Lost`)."""

    after: int
    last: int
    events: int
    messages: Sequence[EventMessage]


@dataclass(frozen=True, slots=True)
class Lost:
    """Events up to `until` were published once and are lost; those from before `since` would be gone by age."""

    until: int
    since: datetime


class Relay:
    """`run_once` publishes the next events. Any number of processes may have one."""

    def __init__(self, database: Database, log: PostgresLog, bus: Bus, kept: Streams) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._kept = kept
        self._stream = EventStream(bus, kept)
        self._connection: Connection[Any] | None = None
        self._server = ""
        self._holds_term = False
        self._saved = Place(0, 0)
        self._place: Place | None = None
        self._ahead: Group | None = None
        self._lost: Lost | None = None
        self._singly = False
        self._connections = 0
        self._look_at = 0.0

    @property
    def holds_term(self) -> bool:
        """Whether this is the relay that publishes, as far as it knows."""
        return self._holds_term

    def run_once(self) -> int:
        """How many events were taken from the log; 0 where there are none, or while another relay holds the term.

        Raises NotReachableError where the database or NATS is away, and is to be called again later. What can't be
        decoded stops it, visibly, when everything before is published.
        """
        if not self._bus.ready("publishing events"):
            return 0
        try:
            connection = self._connected()
            return self._relay(connection) if self._take_term(connection) else 0
        except psycopg.Error as error:
            self.close()
            raise translated(error, self._server) from error
        except HaulageError:
            self._place = self._ahead = None
            raise

    def close(self) -> None:
        """Give up the term. A repeat does nothing; `run_once` begins a new one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = self._place = self._ahead = None
        self._holds_term = False

    # -- the term

    def _connected(self) -> Connection[Any]:
        if self._connection is None:
            self._connection = self._database.connect()
            self._server = where(self._connection)
            # The checkpoint is a hint: the stream tells the truth. Nobody need wait for the disk to have it.
            self._connection.execute("set synchronous_commit = off")
        return self._connection

    def _take_term(self, connection: Connection[Any]) -> bool:
        """Whether we have it. It is the connection's, and ends with it."""
        if not self._holds_term:
            row = connection.execute("select pg_try_advisory_lock(%s)", (_TERM,)).fetchone()
            if row is None or not row[0]:
                return False
            self._saved = self._read_checkpoint(connection)
            self._place, self._holds_term = None, True
            _log.info("the relay's term begins", position=str(self._saved.position))
        return True

    # -- publishing

    def _relay(self, connection: Connection[Any]) -> int:
        place = self._where(connection)
        group, self._ahead = self._ahead, None
        if group is None or group.after != place.position:
            group = self._read(connection, place.position)
        if not group.events:
            return 0
        self._place = None  # until it is known what came of it
        with self._bus.reaching("publishing events"):
            publishing = self._bus.start(self._publish(group.messages, place.sequence))
            if group.events >= GROUP_EVENTS:
                self._read_ahead(connection, group.last)
            try:
                sequence = publishing.result(PUBLISH_SECONDS)
            finally:
                publishing.cancel()
        # Where the stream was not where it was thought to be, the next call looks again.
        self._singly = sequence is None
        if sequence is not None:
            self._place = Place(group.last, sequence)
            self._save(connection, self._place)
        return group.events

    def _read(self, connection: Connection[Any], after: int) -> Group:
        limit = GROUP_EVENTS
        while True:
            try:
                recorded = self._log.read(connection, after, limit, GROUP_BYTES)
                break
            except UndecodableEventError:
                if limit == 1:
                    raise
                limit //= 2  # what comes before it can still go out
        if not recorded:
            return Group(after, after, 0, ())
        # After the reading, so that an event of a new epoch never goes out with the old one.
        epoch = str(self._log.epoch(connection))
        messages = [self._fitting(message(one, epoch)) for one in recorded if not self._is_over(one)]
        return Group(after, recorded[-1].position, len(recorded), messages)

    def _read_ahead(self, connection: Connection[Any], after: int) -> None:
        """Get the next group ready while NATS takes this one."""
        try:
            self._ahead = self._read(connection, after)
        except (psycopg.Error, HaulageError):
            self._ahead = None  # it will be raised when it is that group's turn

    async def _publish(self, messages: Sequence[EventMessage], after: int) -> int | None:
        """The stream's last sequence then; None where it was not where it was thought to be."""
        if not messages:
            return after
        publish = self._stream.publish_singly if self._singly else self._stream.publish
        try:
            return await publish(messages, after)
        except OutOfStepError:
            return None

    def _fitting(self, made: EventMessage) -> EventMessage:
        fits = len(made.body) <= self._bus.client.max_payload - HEAD_BYTES
        return made if fits else made.without_data()

    def _is_over(self, recorded: Recorded) -> bool:
        return self._lost is not None and recorded.position <= self._lost.until and recorded.at < self._lost.since

    # -- where the stream is

    def _where(self, connection: Connection[Any]) -> Place:
        """Where to go on. Looks again after a failure, after each connection, and now and then."""
        with self._bus.reaching("looking at the stream of events"):
            if self._connections != self._bus.connections:
                self._connections, self._place = self._bus.connections, None
            if self._place is not None and time.monotonic() >= self._look_at:
                tail = self._bus.call(self._stream.tail())
                self._place = self._place if tail.sequence == self._place.sequence else None
                self._look_at = time.monotonic() + LOOK_EVERY_SECONDS
            if self._place is None:
                self._place = self._find(connection)
        return self._place

    def _find(self, connection: Connection[Any]) -> Place:
        tail = self._bus.call(self._stream.tail())
        behind = tail.sequence < self._saved.sequence
        last = self._last_known(connection, tail.sequence) if tail.messages else None
        if last is not None:
            place = Place(last.position, tail.sequence)
        elif behind:
            place = Place(0, tail.sequence)
        else:
            place = Place(self._saved.position, tail.sequence)
        if behind and place.position < self._saved.position:
            self._lost = Lost(self._saved.position, self._oldest_kept(connection))
            _log.warning("the stream lost events, which are published again", after=str(place.position))
        return place

    def _last_known(self, connection: Connection[Any], sequence: int) -> Published | None:
        """The last message that the log knows, if it is near the end."""
        first = sequence - LOOK_BACK_MESSAGES
        published = self._bus.call(self._stream.newest(sequence, first))
        while published is not None and not self._is_in_log(connection, published):
            published = self._bus.call(self._stream.newest(published.sequence - 1, first))
        return published

    def _is_in_log(self, connection: Connection[Any], published: Published) -> bool:
        recorded = self._log.read(connection, published.position - 1, 1)
        return (
            bool(recorded) and recorded[0].position == published.position and str(recorded[0].id) == published.event_id
        )

    def _oldest_kept(self, connection: Connection[Any]) -> datetime:
        row = connection.execute("select now()").fetchone()
        assert row is not None
        now: datetime = row[0]
        return now - timedelta(seconds=self._kept.sizes.events_seconds)

    # -- the checkpoint

    def _read_checkpoint(self, connection: Connection[Any]) -> Place:
        position = checkpoints.read(connection, POSITION_CHECKPOINT)
        return Place(position, checkpoints.read(connection, SEQUENCE_CHECKPOINT))

    def _save(self, connection: Connection[Any], place: Place) -> None:
        before = self._saved
        with connection.transaction():
            moved = checkpoints.advance(connection, POSITION_CHECKPOINT, before.position, place.position)
            checkpoints.advance(connection, SEQUENCE_CHECKPOINT, before.sequence, place.sequence)
        self._saved = place
        if not moved:
            # Somebody else moved it, who must hold a term: ours is over.
            self.close()
