"""Sessions: who works here, and whether it still lives.

Crash story. A process registers the backend of one direct connection. Killed, its sockets close and the backend ends:
seen by anyone's next `reap`, within a fraction of a second. Frozen, or its host gone: nothing closes, but the lease,
on the database's clock, runs out. Either way `reap` first ends whatever backends the process still has (one may sit
inside COPY, with locks and the log's line in its hands), then gives its claims back and removes its row, in one
transaction. A process that finds its row gone begins a new session; what it had claimed is fenced.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection

from haulage.infra.postgres import work

END_BACKEND_MS = 3000
"""How long `reap` waits for a backend to end before it tries again at its next turn."""


class Session:
    """This process's session. Not for several threads at once."""

    def __init__(
        self, url: str, *, role: str, application_name: str, definitions: Sequence[str], lease_seconds: float
    ) -> None:
        self.id = uuid4()
        self._url = url
        self._role = role
        self._application_name = application_name
        self._definitions = list(definitions)
        self._lease_seconds = lease_seconds
        self._direct: Connection[Any] | None = None

    def keep(self) -> bool:
        """Register or renew the lease. False where the session had been given up on: `id` is a new one then.

        Raises psycopg errors while the database is away; calling again is all that is needed.
        """
        direct = self._connected()
        renewed = direct.execute(
            """update haulage.sessions s set lease_until = clock_timestamp() + make_interval(secs => %s),
                backend = a.pid, backend_start = a.backend_start
            from pg_stat_activity a where a.pid = pg_backend_pid() and s.session = %s""",
            (self._lease_seconds, self.id),
        )
        if renewed.rowcount == 1:
            return True
        self.id = uuid4()
        direct.execute(
            """insert into haulage.sessions
                (session, role, application_name, backend, backend_start, host, process, definitions, lease_until)
            select %s, %s, %s, pid, backend_start, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)
            from pg_stat_activity where pid = pg_backend_pid()""",
            (
                self.id,
                self._role,
                self._application_name,
                socket.gethostname(),
                os.getpid(),
                self._definitions,
                self._lease_seconds,
            ),
        )
        return False

    @property
    def broken(self) -> bool:
        """Whether the direct connection is known to have ended: to all others we look dead."""
        return self._direct is None or self._direct.closed or not _alive(self._direct)

    def end(self) -> None:
        """Give back what is claimed and leave; a repeat does nothing. Without the database, others will notice."""
        if self._direct is None or self.broken:
            return
        with self._direct as direct, direct.transaction():
            work.give_back(direct, self.id)
            direct.execute("delete from haulage.sessions where session = %s", (self.id,))
        self._direct = None

    def _connected(self) -> Connection[Any]:
        if self._direct is None or self._direct.closed:
            self._direct = psycopg.connect(
                self._url, autocommit=True, application_name=self._application_name, connect_timeout=5
            )
        return self._direct


def _alive(connection: Connection[Any]) -> bool:
    try:
        connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def reap(connection: Connection[Any]) -> int:
    """End dead sessions and give back their claims; how many claims that were.

    Takes a connection without an open transaction. Several may reap at once: who comes second finds nothing left.
    """
    given_back = 0
    for session, application_name in connection.execute("select * from haulage.dead_sessions()").fetchall():
        if not _end_backends(connection, application_name):
            continue
        with connection.transaction():
            given_back += work.give_back(connection, session)
            connection.execute("delete from haulage.sessions where session = %s", (session,))
    # A claim by a process that did not know yet that its session had been ended.
    astray = connection.execute(
        """update haulage.work set owner = null
        where owner is not null and owner not in (select session from haulage.sessions)"""
    )
    return given_back + astray.rowcount


def _end_backends(connection: Connection[Any], application_name: str) -> bool:
    ended = connection.execute(
        """select bool_and(pg_terminate_backend(pid, %s)) from pg_stat_activity
        where application_name = %s and pid <> pg_backend_pid()""",
        (END_BACKEND_MS, application_name),
    ).fetchone()
    return ended is None or ended[0] is not False


def living(connection: Connection[Any]) -> list[tuple[UUID, str, str, int, list[str]]]:
    """Session, role, host, process and definitions of each that lives."""
    return connection.execute(
        """select session, role, host, process, definitions from haulage.sessions
        where session not in (select session from haulage.dead_sessions()) order by started_at"""
    ).fetchall()


def unique_application_name(role: str) -> str:
    """A name for all of a process's connections, by which they can be found."""
    return f"haulage-{role}-{uuid4()}"
