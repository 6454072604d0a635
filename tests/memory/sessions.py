"""Sessions in memory: who works here, and whether it still lives. As `infra/postgres/sessions.py`."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memory import work
from memory.database import InMemoryDatabase

SESSIONS = "sessions"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session's process and lease."""

    process: str
    lease_until: datetime


class InMemorySession:
    """A process's session."""

    def __init__(self, database: InMemoryDatabase, process: str, *, lease_seconds: float) -> None:
        self.id = UUID(int=0)
        self._database = database
        self._process = process
        self._lease_seconds = lease_seconds

    def keep(self) -> bool:
        """Register or renew the lease. False where the session had been given up on: `id` is a new one then."""
        database = self._database
        database.connected.add(self._process)
        known = self.id in database.tables[SESSIONS]
        if not known:
            self.id = UUID(int=database.next_of("session"))
        until = database.clock.in_seconds(self._lease_seconds)
        database.tables[SESSIONS][self.id] = SessionRow(self._process, until)
        return known

    def end(self) -> None:
        """Give back what is claimed and leave."""
        transaction = self._database.begin(self._process)
        work.give_back(transaction, self.id)
        transaction.delete(SESSIONS, self.id)
        transaction.commit()


def reap(database: InMemoryDatabase) -> int:
    """End dead sessions and give back their claims; how many claims that were."""
    given_back = 0
    for session, row in list(database.tables[SESSIONS].items()):
        if row.lease_until < database.clock.now() or row.process not in database.connected:
            database.end_backends(row.process)
            given_back += _forget(database, session)
    # A claim by a process that did not know yet that its session had been ended.
    owners = {row.owner for row in database.tables[work.WORK].values() if row.owner}
    return given_back + sum(_forget(database, owner) for owner in owners - set(database.tables[SESSIONS]))


def _forget(database: InMemoryDatabase, session: UUID) -> int:
    transaction = database.begin("reaper")
    given_back = work.give_back(transaction, session)
    transaction.delete(SESSIONS, session)
    transaction.commit()
    return given_back
