"""PostgreSQL as the engine's store: the ports of `domain/ports.py`, put together from the modules beside this one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.event import NewEvents, Recorded
from haulage.domain.items import Run
from haulage.domain.manifest import Items
from haulage.domain.ports import AppliedChunk, Receipt, Request, SavedDispatch
from haulage.domain.undo import UndoRecord
from haulage.domain.work import Claim, Work
from haulage.infra.postgres import checkpoints, dispatches, requests, undo, work
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.manifest import PostgresManifest

Participants = Mapping[str, Callable[[Connection[Any]], Any]]
"""Adapters of participants in this database, by the name actions call them by."""

LEDGER = "ledger"
"""The subscription that keeps haulage.ledger."""

_TRANSACTION = 1 << 20
"""Positions of one transaction differ only below this."""


class PostgresUnit:
    """One transaction; see `domain.ports.Unit`."""

    def __init__(self, connection: Connection[Any], log: PostgresLog, participants: Participants) -> None:
        self.connection = connection
        self._log = log
        self._participants = participants

    def append(self, new: Sequence[NewEvents]) -> None:
        """One statement, however many streams."""
        if new:
            self._log.append(self.connection, self._log.prepare(new))

    def finish(self, claim: Claim) -> None:
        """Remove a claimed piece of work."""
        work.finish(self.connection, claim)

    def hold(self, claim: Claim) -> None:
        """Keep the claim until the transaction ends."""
        work.hold(self.connection, claim)

    def enqueue(self, work_: Sequence[Work]) -> None:
        """Add work to be claimed."""
        work.enqueue(self.connection, work_)

    def retry(self, claim: Claim, delay_seconds: float, attempt: int, chunk_version: int) -> None:
        """Give the claim back, due after the delay."""
        work.retry(self.connection, claim, delay_seconds, attempt, chunk_version)

    def set_held(self, operations: Sequence[UUID], held: bool) -> None:
        """Keep unclaimed work from being claimed, or no longer."""
        if operations:
            work.set_held(self.connection, operations, held)

    def withdraw(self, operations: Sequence[UUID]) -> None:
        """Remove unclaimed work."""
        if operations:
            work.withdraw(self.connection, operations)

    def keep_undo(self, operation: UUID, step: str, chunk: Run, records: Sequence[UndoRecord]) -> str | None:
        """Store a chunk's undo records."""
        return undo.keep(self.connection, operation, step, *chunk, records) if records else None

    def load_undo(self, operation: UUID, step: str, chunk: Run) -> Sequence[UndoRecord]:
        """A chunk's undo records."""
        return undo.load(self.connection, operation, step, *chunk)

    def advance(self, subscription: str, before: int, after: int) -> bool:
        """Move a checkpoint, if it is where it was."""
        return checkpoints.advance(self.connection, subscription, before, after)

    def save_dispatches(self, saved: Sequence[SavedDispatch]) -> None:
        """Insert or replace."""
        dispatches.save(self.connection, saved)

    def drop_dispatches(self, operations: Sequence[UUID]) -> None:
        """Forget."""
        dispatches.drop(self.connection, operations)

    def add_requests(self, new: Sequence[Request]) -> None:
        """Insert."""
        requests.add_requests(self.connection, new)

    def add_receipts(self, new: Sequence[Receipt]) -> None:
        """Insert."""
        requests.add_receipts(self.connection, new)

    def participant(self, name: str) -> Any:
        """The adapter registered under `name`, on this connection."""
        return self._participants[name](self.connection)


class PostgresStore:
    """See `domain.ports.Store`. For all threads of a process."""

    def __init__(
        self, database: Database, log: PostgresLog, manifest: PostgresManifest, participants: Participants
    ) -> None:
        self.database = database
        self.log = log
        self.manifest = manifest
        self._participants = participants

    @contextmanager
    def begin(self) -> Iterator[PostgresUnit]:
        """A transaction."""
        with self.database.transaction() as connection:
            yield PostgresUnit(connection, self.log, self._participants)

    def request(self, operation: UUID) -> Request:
        """What was asked for."""
        with self.database.connection() as connection:
            return requests.request(connection, operation)

    def requests_by_key(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Request]:
        """Requests by (tenant, key)."""
        with self.database.connection() as connection:
            return requests.requests_by_key(connection, keys)

    def receipts(self, commands: Sequence[UUID]) -> dict[UUID, Receipt]:
        """What was answered."""
        with self.database.connection() as connection:
            return requests.receipts(connection, commands)

    def items(self, operation: UUID, first: int, last: int) -> Items:
        """Items of the manifest."""
        with self.database.connection() as connection:
            return self.manifest.items(connection, operation, first, last)

    def stream(self, stream: UUID) -> Sequence[Recorded]:
        """All events of one stream."""
        with self.database.connection() as connection:
            return self.log.stream(connection, stream)

    def checkpoint(self, subscription: str) -> int:
        """The last position completed."""
        with self.database.connection() as connection:
            return checkpoints.read(connection, subscription)

    def events_after(self, position: int, limit: int) -> Sequence[Recorded]:
        """The next events, whole transactions."""
        with self.database.connection() as connection:
            return whole_transactions(lambda n: self.log.read(connection, position, n), limit)

    def dispatches(self, operations: Sequence[UUID]) -> dict[UUID, SavedDispatch]:
        """Those that exist."""
        with self.database.connection() as connection:
            return dispatches.load(connection, operations)

    def due_dispatches(self) -> Sequence[SavedDispatch]:
        """Those that are due."""
        with self.database.connection() as connection:
            return dispatches.due(connection)

    def head(self) -> int:
        """The last position committed."""
        with self.database.connection() as connection:
            row = connection.execute("select coalesce(max(notification_id), 0) from haulage.events").fetchone()
            return int(row[0]) if row else 0

    def applied_chunks(
        self, operation: UUID, step: str, before: int, limit: int, complete_to: int
    ) -> Sequence[AppliedChunk] | None:
        """Newest first; from the ledger, once it has caught up."""
        with self.database.connection() as connection:
            if checkpoints.read(connection, LEDGER) < complete_to:
                return None
            rows = connection.execute(
                """select first, last, position from haulage.ledger
                where operation = %s and step = %s and position < %s and compensated_at is null
                order by position desc limit %s""",
                (operation, step, before, limit),
            ).fetchall()
            return [AppliedChunk(*row) for row in rows]

    def in_flight(self, operations: Sequence[UUID]) -> dict[UUID, int]:
        """Claimed work by operation."""
        with self.database.connection() as connection:
            return work.in_flight(connection, operations)


def whole_transactions(read: Callable[[int], Sequence[Recorded]], limit: int) -> Sequence[Recorded]:
    """What `read(limit)` gives, without a last transaction that the limit may have cut.

    The line of the log falls between transactions, so what is visible of one is all of it. One that alone is larger
    than the limit is read with a larger one.
    """
    while len(events := read(limit)) == limit:
        begin = events[-1].position // _TRANSACTION * _TRANSACTION
        if whole := [event for event in events if event.position < begin]:
            return whole
        limit *= 4
    return events
