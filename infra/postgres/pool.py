"""The connections of a process: how a session is set up, and how a dead one is noticed before it is used."""

import select
import time
from typing import Any

from eventsourcing.postgres import ConnectionPool
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolTimeout

CONNECTING: dict[str, Any] = {
    "connect_timeout": 5,
    # A host that is gone without a word is noticed within these seconds, not within TCP's quarter of an hour.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How a connection is made and watched, unless the URL says otherwise."""


def prepare_session(connection: Connection[Any], idle_in_transaction_seconds: float) -> None:
    """Put a fresh session into the state that all our code expects."""
    connection.autocommit = True
    connection.execute(
        # The offset of positions is read after a lock that was waited for; an older snapshot would miss its change.
        "set default_transaction_isolation = 'read committed';"
        "set timezone = 'UTC';"
        # A client that died in the middle of a long statement is noticed, and its locks are free, within a second.
        "set client_connection_check_interval = '500ms';"
        # A client that froze in the middle of a transaction holds every follower back.
        f"set idle_in_transaction_session_timeout = '{int(idle_in_transaction_seconds * 1000)}ms'"
    )


class Pool(ConnectionPool[Connection[DictRow]]):
    """A pool that never hands out a session which the server has ended.

    Its connections commit by themselves and give rows as dicts, which is what the event library expects.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        size: int,
        application_name: str,
        wait_seconds: float,
        idle_in_transaction_seconds: float,
        parameters: dict[str, Any],
    ) -> None:
        super().__init__(
            conninfo,
            connection_class=Connection[DictRow],
            kwargs=CONNECTING | parameters | {"application_name": application_name, "row_factory": dict_row},
            min_size=1,
            max_size=size,
            open=False,
            name=application_name,
            configure=lambda connection: prepare_session(connection, idle_in_transaction_seconds),
            timeout=wait_seconds,
            # Given up soon, since the next request begins with an attempt at once, while these back off for longer
            # and longer: after a restart of the server everybody is back within about two seconds.
            reconnect_timeout=wait_seconds,
        )

    def getconn(self, timeout: float | None = None) -> Connection[DictRow]:
        """A connection, waiting for it up to `timeout` seconds; PoolTimeout after that."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = super().getconn(deadline - time.monotonic())
            if _is_alive(connection):
                return connection
            # Without the pool's own check: it waits longer after each dead one, and after a restart all are.
            connection.close()
            self.putconn(connection)
            if time.monotonic() > deadline:
                raise PoolTimeout("every session had been ended by the server")


def _is_alive(connection: Connection[DictRow]) -> bool:
    """Whether the server still keeps the session. Costs no round trip: an idle server only speaks to say goodbye."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        # Or to tell that its configuration changed.
        ConnectionPool.check_connection(connection)
    except Exception:  # noqa: BLE001 - whatever it is, the session is of no use
        return False
    return True
