"""A database in memory, with the promises of PostgreSQL that the engine relies on.

Transactions at READ COMMITTED: nothing is visible to others before the commit, everything after it; what a transaction
writes is locked until its end. A transaction gets its number with its first write, positions in the log follow the
numbers, and readers of the log stop below the oldest transaction that is still open (the line). Connections can be
ended from outside, and the whole server restarted: what was not committed is gone then.

There are no threads: a transaction that meets another's lock can't wait, and raises `WouldWaitError` instead.
"""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from haulage.domain.errors import NotReachableError
from haulage.domain.event import Recorded
from memory.clock import FakeClock

TRANSACTION = 1 << 20
"""Positions of one transaction differ only below this."""

IDLE_IN_TRANSACTION_SECONDS = 10.0

Key = Any
Row = Any
Place = tuple[str, Key]
"""A row's table and key."""

_GONE = object()
_BY_POSITION = attrgetter("position")


class ConnectionEndedError(NotReachableError):
    """The connection was ended from outside; nothing of the open transaction was done."""


class WouldWaitError(NotReachableError):
    """Another open transaction holds the row. PostgreSQL would wait; try again when that one has ended."""


class InMemoryDatabase:
    """Committed rows by table and key, the log, and who is connected."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.tables: dict[str, dict[Key, Row]] = defaultdict(dict)
        self.log: list[Recorded] = []
        self.connected: set[str] = set()
        self.observers: list[Callable[[Transaction], None]] = []
        self._sequences: Counter[str] = Counter()
        self._open: set[Transaction] = set()
        self._locks: dict[Place, Transaction] = {}
        self._not_on_disk: dict[Place, Row] = {}

    def begin(self, process: str) -> "Transaction":
        """Open a transaction on a connection of `process`."""
        transaction = Transaction(self, process)
        self._open.add(transaction)
        return transaction

    def line(self) -> int:
        """No event can appear below this position any more."""
        writing = [transaction.number for transaction in self._open if transaction.number]
        return min(writing, default=self._sequences["transaction"] + 1) * TRANSACTION

    def end_backends(self, process: str) -> None:
        """End all connections of `process`; its open transactions are rolled back."""
        self.connected.discard(process)
        for transaction in [t for t in self._open if t.process == process]:
            transaction.roll_back()

    def end_idle_transactions(self) -> None:
        """Roll back what has been open for too long, as `idle_in_transaction_session_timeout` does."""
        for transaction in list(self._open):
            if (self.clock.now() - transaction.began_at).total_seconds() > IDLE_IN_TRANSACTION_SECONDS:
                transaction.roll_back()

    def restart(self) -> None:
        """Crash and come back: all connections end, and rows committed without waiting for the disk are as before."""
        for process in {transaction.process for transaction in self._open} | self.connected:
            self.end_backends(process)
        for (table, key), before in self._not_on_disk.items():
            self.tables[table][key] = before
        self._not_on_disk.clear()

    def next_of(self, sequence: str) -> int:
        """The next number of a sequence, from 1; as in PostgreSQL, no rollback gives it back."""
        self._sequences[sequence] += 1
        return self._sequences[sequence]

    def lock(self, place: Place, transaction: "Transaction") -> None:
        """Keep the row for the transaction until it ends."""
        if self._locks.setdefault(place, transaction) is not transaction:
            raise WouldWaitError(f"another transaction holds {place[0]} {place[1]}")

    def is_locked(self, place: Place) -> bool:
        """Whether some open transaction holds the row."""
        return place in self._locks

    def commit_without_disk(self, table: str, key: Key, row: Row) -> None:
        """Replace a row in a transaction of its own, which a restart undoes unless another was committed since."""
        self._not_on_disk.setdefault((table, key), self.tables[table][key])
        self.tables[table][key] = row

    def end(self, transaction: "Transaction", written: dict[Place, Row], appended: list[Recorded]) -> None:
        """Forget a transaction and its locks; what it has written, if anything, becomes visible."""
        self._open.discard(transaction)
        for place in transaction.held:
            del self._locks[place]
        if written or appended:
            self._not_on_disk.clear()
        for (table, key), row in written.items():
            if row is _GONE:
                self.tables[table].pop(key, None)
            else:
                self.tables[table][key] = row
        for recorded in appended:
            insort(self.log, recorded, key=_BY_POSITION)


class Transaction:
    """One open transaction: sees what is committed, and its own writes before that."""

    def __init__(self, database: InMemoryDatabase, process: str) -> None:
        self.database = database
        self.process = process
        self.began_at = database.clock.now()
        self.number = 0
        self.held: set[Place] = set()
        self.appended: list[Recorded] = []
        self._written: dict[Place, Row] = {}
        self._replaced: dict[Place, Row] = {}
        self._ended = False

    def read(self, table: str, key: Key, default: Row = None) -> Row:
        """One row, or `default`."""
        self._must_be_open()
        own = self._written.get((table, key))
        if own is None:
            return self.database.tables[table].get(key, default)
        return default if own is _GONE else own

    def rows(self, table: str) -> Iterator[tuple[Key, Row]]:
        """All rows of a table that this transaction sees."""
        committed = self.database.tables[table]
        for key in [*committed, *(key for of, key in self._written if of == table and key not in committed)]:
            row = self.read(table, key)
            if row is not None:
                yield key, row

    def lock(self, table: str, key: Key) -> None:
        """Keep a row; takes the transaction's number."""
        self._must_be_open()
        self.database.lock((table, key), self)
        self.held.add((table, key))
        self.number = self.number or self.database.next_of("transaction")

    def write(self, table: str, key: Key, row: Row) -> None:
        """Insert or replace a row; it is locked."""
        self.lock(table, key)
        self._written[table, key] = row

    def delete(self, table: str, key: Key) -> None:
        """Remove a row; its place is locked."""
        self.write(table, key, _GONE)

    def changes(self, table: str) -> dict[Key, tuple[Row, Row]]:
        """The rows of a table before and after a transaction that has committed; None where there is none."""
        return {
            key: (self._replaced[of, key], None if row is _GONE else row)
            for (of, key), row in self._written.items()
            if of == table
        }

    def next_position(self) -> int:
        """The position of the next event of this transaction."""
        self.number = self.number or self.database.next_of("transaction")
        return self.number * TRANSACTION + len(self.appended)

    def commit(self) -> None:
        """All of it becomes visible; `ConnectionEndedError` where the connection has ended: none of it was done."""
        self._must_be_open()
        self._ended = True
        self._replaced = {(table, key): self.database.tables[table].get(key) for table, key in self._written}
        self.database.end(self, self._written, self.appended)
        if self._written or self.appended:
            for observe in self.database.observers:
                observe(self)

    def _must_be_open(self) -> None:
        if self._ended:
            raise ConnectionEndedError("the connection was ended, and the transaction rolled back")

    def roll_back(self) -> None:
        """None of it ever was; a repeat does nothing."""
        if not self._ended:
            self._ended = True
            self.database.end(self, {}, [])
