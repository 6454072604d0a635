"""The stores that must keep the same promises, each with what a test needs to set the scene around it."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import psycopg
from memory import FakeClock, InMemoryDatabase, InMemorySession, InMemoryStore, reap, work
from memory.database import Transaction
from memory.store import LEDGER
from psycopg import Connection

from haulage.domain.event import Recorded
from haulage.domain.events import EVENTS
from haulage.domain.ports import Store
from haulage.domain.work import Claim
from haulage.infra.files.source import open_source
from haulage.infra.postgres import sessions as postgres_sessions
from haulage.infra.postgres import work as postgres_work
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.manifest import PostgresManifest
from haulage.infra.postgres.mapper import EventMapper
from haulage.infra.postgres.sessions import Session, unique_application_name
from haulage.infra.postgres.store import PostgresStore
from haulage.infra.projector import Projector
from haulage.infra.staging import Stager

LEASE_SECONDS = 30.0
DEFINITIONS = ("import-users/1",)


class Backend(Protocol):
    """A store under test, and the world around it."""

    @property
    def store(self) -> Store:
        """What is tested."""

    def begin_session(self) -> UUID:
        """A worker arrives."""

    def end_session(self, session: UUID) -> None:
        """A worker leaves in good order."""

    def kill(self, session: UUID) -> None:
        """A worker's process dies."""

    def reap(self) -> int:
        """Somebody looks after dead sessions; how many claims were given back."""

    def claim(self, session: UUID, limit: int = 1, definitions: Sequence[str] = DEFINITIONS) -> list[Claim]:
        """A worker claims."""

    def pass_time(self, seconds: float) -> None:
        """Time goes by, for due times and leases."""

    def stage(self, operation: UUID, contents: Sequence[dict[str, Any]]) -> None:
        """An operation's items are there."""

    def ledger_catches_up(self) -> None:
        """The ledger takes in what is in the log."""

    def events_after(self, position: int, limit: int, expected: int) -> Sequence[Recorded]:
        """The next events, once there are as many as expected: the line may need a moment."""


class Notes:
    """A participant: notes in the store's own database."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def write(self, text: str) -> None:
        """Add a note."""
        self._connection.execute("insert into notes values (%s)", (text,))

    def read(self) -> list[str]:
        """All notes this transaction sees."""
        return [row[0] for row in self._connection.execute("select text from notes order by text").fetchall()]


class InMemoryNotes:
    """The same in memory."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def write(self, text: str) -> None:
        """Add a note."""
        self._transaction.write("notes", text, text)

    def read(self) -> list[str]:
        """All notes this transaction sees."""
        return sorted(text for _, text in self._transaction.rows("notes"))


class InMemoryBackend:
    """The store that simulations and unit tests use."""

    def __init__(self) -> None:
        self._clock = FakeClock()
        self._database = InMemoryDatabase(self._clock)
        self._sessions: dict[UUID, InMemorySession] = {}
        self.store = InMemoryStore(self._database, "test", {"notes": InMemoryNotes})

    def begin_session(self) -> UUID:
        process = f"worker-{len(self._sessions)}"
        session = InMemorySession(self._database, process, lease_seconds=LEASE_SECONDS)
        session.keep()
        self._sessions[session.id] = session
        return session.id

    def end_session(self, session: UUID) -> None:
        self._sessions[session].end()

    def kill(self, session: UUID) -> None:
        self._database.end_backends(self._database.tables["sessions"][session].process)

    def reap(self) -> int:
        return reap(self._database)

    def claim(self, session: UUID, limit: int = 1, definitions: Sequence[str] = DEFINITIONS) -> list[Claim]:
        return work.claim(self._database, session, definitions, limit)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def stage(self, operation: UUID, contents: Sequence[dict[str, Any]]) -> None:
        self._database.tables["manifest"][operation] = list(contents)

    def ledger_catches_up(self) -> None:
        with self.store.begin() as unit:
            unit.advance(LEDGER, self.store.checkpoint(LEDGER), self.store.head())

    def events_after(self, position: int, limit: int, expected: int) -> Sequence[Recorded]:
        return self.store.events_after(position, limit)


class PostgresBackend:
    """The real one. `admin_url` sets the scene: a table for notes, sessions ended, time gone by."""

    def __init__(self, app_url: str, admin_url: str, folder: Path) -> None:
        self._app_url = app_url
        self._folder = folder
        self._admin = psycopg.connect(admin_url, autocommit=True)
        self._admin.execute("create table notes (text text primary key)")
        self._admin.execute("grant select, insert on notes to public")
        self._database = Database(app_url, size=6, application_name=unique_application_name("contract"))
        self._log = PostgresLog(EventMapper(EVENTS))
        self._manifest = PostgresManifest()
        self._sessions: dict[UUID, Session] = {}
        self.store = PostgresStore(self._database, self._log, self._manifest, {"notes": Notes})

    def close(self) -> None:
        """Leave nothing open."""
        for session in self._sessions.values():
            if not session.broken:
                session.end()
        self._database.close()
        self._admin.close()

    def begin_session(self) -> UUID:
        session = Session(
            self._app_url,
            role="worker",
            application_name=unique_application_name("worker"),
            definitions=DEFINITIONS,
            lease_seconds=LEASE_SECONDS,
        )
        session.keep()
        self._sessions[session.id] = session
        return session.id

    def end_session(self, session: UUID) -> None:
        self._sessions[session].end()

    def kill(self, session: UUID) -> None:
        self._admin.execute(
            "select pg_terminate_backend(backend, 5000) from haulage.sessions where session = %s", (session,)
        )

    def reap(self) -> int:
        with self._database.connection() as connection:
            return postgres_sessions.reap(connection)

    def claim(self, session: UUID, limit: int = 1, definitions: Sequence[str] = DEFINITIONS) -> list[Claim]:
        with self._database.connection() as connection:
            return postgres_work.claim(connection, session, definitions, limit)

    def pass_time(self, seconds: float) -> None:
        self._admin.execute("update haulage.work set due_at = due_at - make_interval(secs => %s)", (seconds,))
        self._admin.execute(
            "update haulage.sessions set lease_until = lease_until - make_interval(secs => %s)", (seconds,)
        )

    def stage(self, operation: UUID, contents: Sequence[dict[str, Any]]) -> None:
        path = self._folder / f"{operation}.ndjson"
        path.write_text("".join(json.dumps(content) + "\n" for content in contents))
        stager = Stager(self._database, self._manifest)
        with open_source(path) as source:
            remainder = stager.stage(source, operation, hold=lambda _: None)
        with self._database.transaction() as connection:
            remainder.store(connection)

    def ledger_catches_up(self) -> None:
        self.events_after(0, 1_000_000, expected=self._committed())
        Projector(self._database, self._log).catch_up()

    def events_after(self, position: int, limit: int, expected: int) -> Sequence[Recorded]:
        deadline = time.monotonic() + 10
        while len(events := self.store.events_after(position, limit)) < expected:
            assert time.monotonic() < deadline, f"only {len(events)} events below the line"
        return events

    def _committed(self) -> int:
        row = self._admin.execute("select count(*) from haulage.events").fetchone()
        assert row is not None
        return int(row[0])


BACKENDS: dict[str, Callable[[Any], Backend]] = {
    "memory": lambda _: InMemoryBackend(),
    "postgres": lambda ask: PostgresBackend(ask("database_url"), ask("admin_url"), ask("tmp_path")),
}
"""How to make each, from what asks for a fixture by name."""
