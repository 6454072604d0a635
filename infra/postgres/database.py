"""The database of a process: one pool, transactions, and errors that say what to do.

The pool is shared with the event library, whose recorders take a datastore: `Database.datastore` is that.

Crash story. A session that the server ended while it was idle is replaced before anybody gets it. One that breaks
in the middle of a transaction ends in NotReachableError: nothing was done, repeat it. One that breaks during COMMIT
ends in OutcomeUnknownError: the caller finds out from what the transaction would have left behind, such as its event
ids (`PostgresLog.was_recorded`), and repeats it with the same ids.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from eventsourcing.postgres import PostgresDatastore
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, dict_row, tuple_row
from psycopg_pool import PoolTimeout

from haulage.domain.errors import NotReachableError
from haulage.infra.postgres.errors import OutcomeUnknownError, PoolExhaustedError, TransactionAbortedError, translated
from haulage.infra.postgres.pool import CONNECTING, Pool, prepare_session


class Datastore(PostgresDatastore):
    """What the library's recorders work on, with our pool in place of its own. Tables come from migrations."""

    def __init__(self, pool: Pool) -> None:
        super().__init__("", "", "", "", "", schema="haulage")
        # The library's pool was not opened: it is only an object.
        self.pool = pool


class Database:
    """One per process; may be used by all its threads.

    `size` is the most connections at a time. A thread that finds none waits up to `wait_seconds`. A session that does
    nothing in an open transaction for `idle_in_transaction_seconds` is ended by the server.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int = 4,
        application_name: str = "haulage",
        wait_seconds: float = 5.0,
        idle_in_transaction_seconds: float = 10.0,
    ) -> None:
        self.url = url
        self.application_name = application_name
        parameters = conninfo_to_dict(url)
        self._parameters = CONNECTING | parameters | {"application_name": application_name}
        self._idle_in_transaction_seconds = idle_in_transaction_seconds
        host = parameters.get("host") or "a local socket"
        self._where = f"{parameters.get('dbname') or ''} at {host}:{parameters.get('port') or 5432}".strip()
        self._pool = Pool(
            url,
            size=size,
            application_name=application_name,
            wait_seconds=wait_seconds,
            idle_in_transaction_seconds=idle_in_transaction_seconds,
            parameters=parameters,
        )
        self.datastore = Datastore(self._pool)

    @contextmanager
    def transaction(self) -> Iterator[Connection[TupleRow]]:
        """A transaction at READ COMMITTED: commits at the end of the block, rolls back on an exception.

        Raises NotReachableError, OutcomeUnknownError, BusyError, PoolExhaustedError, DiskFullError, NotSettledError,
        and TransactionAbortedError when the block caught an error of the transaction and ended as if all was well.
        Other errors of psycopg, such as a violated constraint, come through as they are.
        """
        committing = False
        try:
            with self._session() as connection, connection.transaction():
                yield connection
                if connection.info.transaction_status == TransactionStatus.INERROR:
                    # COMMIT would quietly roll back, and the caller would believe it.
                    raise TransactionAbortedError(
                        "An error aborted the transaction and was caught within it; nothing of it was done."
                    )
                committing = True
        except psycopg.Error as error:
            failure = translated(error, self._where)
            if committing and isinstance(failure, NotReachableError):
                failure = OutcomeUnknownError(f"{failure} It went away during a commit, which may have been done.")
            if failure is error:
                raise
            raise failure from error

    @contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """A connection on which every statement commits by itself; errors as in `transaction`."""
        try:
            with self._session() as connection:
                yield connection
        except psycopg.Error as error:
            failure = translated(error, self._where)
            if failure is error:
                raise
            raise failure from error

    def connect(self) -> Connection[TupleRow]:
        """A connection of the caller's own, outside the pool, set up like the others; NotReachableError without one.

        Also the quickest way to learn whether the database is there: it fails at once where the pool would wait.
        """
        try:
            connection = Connection[TupleRow].connect(**self._parameters)
            prepare_session(connection, self._idle_in_transaction_seconds)
        except psycopg.Error as error:
            raise translated(error, self._where) from error
        return connection

    def close(self) -> None:
        """Close every connection; a repeat does nothing."""
        self._pool.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _session(self) -> Iterator[Connection[TupleRow]]:
        self._pool.open()
        try:
            connection = self._pool.getconn()
        except PoolTimeout:
            # The pool does not say why: it may be too small, or the server away.
            self.connect().close()
            raise PoolExhaustedError(
                f"All {self._pool.max_size} connections of this process to the database {self._where} were in use for "
                f"{self._pool.timeout:g} seconds. Repeat, or give the process more connections."
            ) from None
        try:
            connection.row_factory = cast("Any", tuple_row)
            yield cast("Connection[TupleRow]", connection)
        finally:
            connection.row_factory = dict_row
            self._pool.putconn(connection)
