"""The engine's store in memory: the ports of `domain/ports.py`, on `InMemoryDatabase`.

Passes the same contract suite as the one on PostgreSQL (`tests/contract/test_store.py`).
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any
from uuid import UUID

from haulage.domain.chunk import ChunkApplied, ChunkCompensated
from haulage.domain.errors import ConflictError, LateAppendError, NotFoundError
from haulage.domain.event import NewEvents, Recorded
from haulage.domain.items import Run
from haulage.domain.manifest import Items
from haulage.domain.ports import AppliedChunk, Receipt, Request, SavedDispatch
from haulage.domain.undo import UndoRecord
from haulage.domain.work import Claim, Work
from memory import work
from memory.database import TRANSACTION, InMemoryDatabase, Transaction

Participants = Mapping[str, Callable[[Transaction], Any]]
"""Participants in this database, by the name actions call them by."""

LEDGER = "ledger"
"""The subscription whose checkpoint says how much of the log the ledger has taken in."""

_position = attrgetter("position")


class InMemoryUnit:
    """One transaction; see `domain.ports.Unit`."""

    def __init__(self, transaction: Transaction, participants: Participants) -> None:
        self.transaction = transaction
        self._participants = participants

    def append(self, new: Sequence[NewEvents]) -> None:
        """Append, if each stream is where it was thought to be."""
        for some in new:
            if some.events:
                self._append(some)

    def _append(self, some: NewEvents) -> None:
        transaction = self.transaction
        transaction.lock("streams", some.stream)
        stream: tuple[Recorded, ...] = transaction.read("streams", some.stream, ())
        if len(stream) != some.after:
            raise ConflictError(f"stream {some.stream} ends with version {len(stream)}, not {some.after}")
        if stream and stream[-1].position // TRANSACTION > transaction.number:
            raise LateAppendError(f"stream {some.stream} has an event of a later transaction")
        for version, event in enumerate(some.events, some.after + 1):
            database, position = transaction.database, transaction.next_position()
            recorded = Recorded(
                some.stream, version, position, database.clock.now(), UUID(int=position), some.context, event
            )
            transaction.appended.append(recorded)
            stream = (*stream, recorded)
        transaction.write("streams", some.stream, stream)

    def finish(self, claim: Claim) -> None:
        """Remove a claimed piece of work."""
        work.finish(self.transaction, claim)

    def hold(self, claim: Claim) -> None:
        """Keep the claim until the transaction ends."""
        work.hold(self.transaction, claim)

    def enqueue(self, new: Sequence[Work]) -> None:
        """Add work to be claimed."""
        work.enqueue(self.transaction, new)

    def retry(self, claim: Claim, delay_seconds: float, attempt: int, chunk_version: int) -> None:
        """Give the claim back, due after the delay."""
        work.retry(self.transaction, claim, delay_seconds, attempt, chunk_version)

    def set_held(self, operations: Sequence[UUID], held: bool) -> None:
        """Keep unclaimed work from being claimed, or no longer."""
        work.set_held(self.transaction, operations, held)

    def withdraw(self, operations: Sequence[UUID]) -> None:
        """Remove unclaimed work."""
        work.withdraw(self.transaction, operations)

    def keep_undo(self, operation: UUID, step: str, chunk: Run, records: Sequence[UndoRecord]) -> str | None:
        """Store a chunk's undo records."""
        if not records:
            return None
        self.transaction.write("undo", (operation, step, chunk), tuple(records))
        told = json.dumps([[record.ordinal, dict(record.before)] for record in records], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def load_undo(self, operation: UUID, step: str, chunk: Run) -> Sequence[UndoRecord]:
        """A chunk's undo records."""
        found: Sequence[UndoRecord] = self.transaction.read("undo", (operation, step, chunk), ())
        return found

    def advance(self, subscription: str, before: int, after: int) -> bool:
        """Move a checkpoint, if it is where it was."""
        if self.transaction.read("checkpoints", subscription, 0) != before:
            return False
        self.transaction.write("checkpoints", subscription, after)
        return True

    def save_dispatches(self, saved: Sequence[SavedDispatch]) -> None:
        """Insert or replace."""
        for dispatch in saved:
            self.transaction.write("dispatches", dispatch.operation, dispatch)

    def drop_dispatches(self, operations: Sequence[UUID]) -> None:
        """Forget."""
        for operation in operations:
            self.transaction.delete("dispatches", operation)

    def add_requests(self, new: Sequence[Request]) -> None:
        """Insert."""
        for request in new:
            self._insert("operations", request.operation, request)
            if request.key is not None:
                self._insert("operations_tenant_key", (request.tenant, request.key), request)

    def add_receipts(self, new: Sequence[Receipt]) -> None:
        """Insert."""
        for receipt in new:
            self._insert("inbox", receipt.command_id, receipt)

    def participant(self, name: str) -> Any:
        """The participant registered under `name`, in this transaction."""
        return self._participants[name](self.transaction)

    def _insert(self, table: str, key: Any, row: Any) -> None:
        self.transaction.lock(table, key)
        if self.transaction.read(table, key) is not None:
            raise ConflictError(f"{table}: it is there already")
        self.transaction.write(table, key, row)


class InMemoryStore:
    """See `domain.ports.Store`. One for each process that works on the database."""

    unit: type[InMemoryUnit] = InMemoryUnit

    def __init__(self, database: InMemoryDatabase, process: str, participants: Participants) -> None:
        self._database = database
        self._process = process
        self._participants = participants

    @contextmanager
    def begin(self) -> Iterator[InMemoryUnit]:
        """A transaction."""
        transaction = self._database.begin(self._process)
        try:
            yield self.unit(transaction, self._participants)
        except BaseException:
            transaction.roll_back()
            raise
        transaction.commit()

    def request(self, operation: UUID) -> Request:
        """What was asked for."""
        request: Request | None = self._database.tables["operations"].get(operation)
        if request is None:
            raise NotFoundError(f"there is no operation {operation}")
        return request

    def requests_by_key(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Request]:
        """Requests by (tenant, key)."""
        return self._found("operations_tenant_key", keys)

    def receipts(self, commands: Sequence[UUID]) -> dict[UUID, Receipt]:
        """What was answered."""
        return self._found("inbox", commands)

    def items(self, operation: UUID, first: int, last: int) -> Items:
        """Items of the manifest."""
        contents: Sequence[Any] = self._database.tables["manifest"][operation]
        return Items(first, None, contents[first - 1 : last])

    def stream(self, stream: UUID) -> Sequence[Recorded]:
        """All events of one stream."""
        found: tuple[Recorded, ...] = self._database.tables["streams"].get(stream, ())
        return found

    def checkpoint(self, subscription: str) -> int:
        """The last position completed."""
        return int(self._database.tables["checkpoints"].get(subscription, 0))

    def events_after(self, position: int, limit: int) -> Sequence[Recorded]:
        """The next events, whole transactions."""
        log = self._database.log
        first = bisect_right(log, position, key=_position)
        end = min(first + limit, bisect_left(log, self.line(), key=_position))
        while first < end < len(log) and _same_transaction(log[end - 1], log[end]):
            end += 1
        return log[first:end]

    def line(self) -> int:
        """No event can appear below this position any more."""
        return self._database.line()

    def dispatches(self, operations: Sequence[UUID]) -> dict[UUID, SavedDispatch]:
        """Those that exist."""
        return self._found("dispatches", operations)

    def due_dispatches(self) -> Sequence[SavedDispatch]:
        """Those that are due."""
        return [dispatch for dispatch in self._database.tables["dispatches"].values() if dispatch.due]

    def head(self) -> int:
        """The last position committed."""
        log = self._database.log
        return log[-1].position if log else 0

    def applied_chunks(
        self, operation: UUID, step: str, before: int, limit: int, complete_to: int
    ) -> Sequence[AppliedChunk] | None:
        """Newest first; from as much of the log as the ledger has taken in."""
        taken_in = self.checkpoint(LEDGER)
        if taken_in < complete_to:
            return None
        known = [r for r in self._database.log if r.context.operation == operation and r.position <= taken_in]
        compensated = {r.stream for r in known if isinstance(r.event, ChunkCompensated)}
        applied = [
            AppliedChunk(r.event.first, r.event.last, r.position)
            for r in reversed(known)
            if isinstance(r.event, ChunkApplied) and r.event.step == step
            if r.position < before and r.stream not in compensated
        ]
        return applied[:limit]

    def in_flight(self, operations: Sequence[UUID]) -> dict[UUID, int]:
        """Claimed work by operation."""
        return work.in_flight(self._database, operations)

    def _found(self, table: str, keys: Sequence[Any]) -> dict[Any, Any]:
        rows = self._database.tables[table]
        return {key: rows[key] for key in keys if key in rows}


def _same_transaction(a: Recorded, b: Recorded) -> bool:
    return a.position // TRANSACTION == b.position // TRANSACTION
