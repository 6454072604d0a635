"""Killing the server loses no event that was acknowledged, and appends go on by themselves once it is back."""

import os
import signal
import time
from threading import Event, Thread
from uuid import uuid4

from log_samples import LOG, Noted, noted
from server_processes import lives

from haulage.domain.errors import ConflictError, NotReachableError
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.history import settle_history
from haulage.infra.postgres.log import Prepared
from haulage.infra.postgres.migrate import migrate
from haulage.infra.servers import Servers

KILLS = 3
WRITERS = 4


class Writer(Thread):
    """Appends one event after the other to a stream of its own, each until its outcome is known."""

    def __init__(self, database: Database, enough: Event) -> None:
        super().__init__(daemon=True)
        self.stream = uuid4()
        self.acknowledged: list[int] = []
        self.failure: BaseException | None = None
        self._database = database
        self._enough = enough
        self.start()

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                version = len(self.acknowledged)
                self._append(LOG.prepare([noted(self.stream, version, str(version + 1))]))
        except BaseException as failure:
            self.failure = failure
            raise

    def _append(self, prepared: Prepared) -> None:
        """Until the outcome is known: events in doubt at the end are nobody's loss."""
        while not self._enough.is_set():
            try:
                self.acknowledged += self._attempt(prepared)
            except NotReachableError:
                continue
            return

    def _attempt(self, prepared: Prepared) -> list[int]:
        try:
            with self._database.transaction() as connection:
                return LOG.append(connection, prepared)
        except ConflictError:
            with self._database.connection() as connection:
                positions = LOG.was_recorded(connection, prepared)
            assert positions is not None, "a conflict in a stream that nobody else writes to"
            return positions


def test_a_killed_server_loses_no_acknowledged_event_and_writers_go_on_by_themselves(servers: Servers) -> None:
    with servers as urls:
        assert urls.postgres_admin is not None
        migrate(urls.postgres_admin, urls.postgres_app)
        enough = Event()
        with Database(urls.postgres_app, size=WRITERS, wait_seconds=5) as database:
            writers = [Writer(database, enough) for _ in range(WRITERS)]
            try:
                for _ in range(KILLS):
                    wait_for_more(writers)
                    kill(servers)
                    servers.ensure()
                    with database.connection() as connection:
                        # A crash is no change of place: nothing to settle.
                        assert settle_history(connection) is False
                wait_for_more(writers)
            finally:
                enough.set()
                for writer in writers:
                    writer.join()
            check(database, writers)


def kill(servers: Servers) -> None:
    pid = servers.status().postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline, "the server survives SIGKILL"


def wait_for_more(writers: list[Writer]) -> None:
    """Until each writer has appended something since now."""
    before = [len(writer.acknowledged) for writer in writers]
    deadline = time.monotonic() + 30
    while any(len(writer.acknowledged) <= some for writer, some in zip(writers, before, strict=True)):
        assert time.monotonic() < deadline, "the writers do not go on"
        assert not [writer.failure for writer in writers if writer.failure]


def check(database: Database, writers: list[Writer]) -> None:
    with database.connection() as connection:
        for writer in writers:
            stored = LOG.stream(connection, writer.stream)
            assert [recorded.position for recorded in stored] == writer.acknowledged
            assert [recorded.event for recorded in stored] == [Noted(text=str(n + 1)) for n in range(len(stored))]
        assert len(LOG.read(connection, 0, 1_000_000)) == sum(len(writer.acknowledged) for writer in writers)
