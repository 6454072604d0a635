"""The pool and its transactions: what commits, what rolls back, and which error a caller gets."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from haulage.domain.errors import NotReachableError
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import BusyError, OutcomeUnknownError, PoolExhaustedError, TransactionAbortedError


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=2, application_name="test") as database:
        yield database


def checkpoints(database: Database) -> list[tuple[str, int]]:
    with database.connection() as connection:
        rows = connection.execute("select application_name, notification_id from haulage.checkpoints order by 1")
        return [(name, position) for name, position in rows]


def checkpoint(connection: psycopg.Connection, name: str) -> None:
    connection.execute("insert into haulage.checkpoints values (%s, 1)", (name,))


def twice(connection: psycopg.Connection, name: str) -> None:
    """The second one raises."""
    for _ in range(2):
        checkpoint(connection, name)


def test_a_transaction_commits_at_the_end_of_its_block(db: Database) -> None:
    with db.transaction() as connection:
        checkpoint(connection, "a")
        assert checkpoints(db) == []

    assert checkpoints(db) == [("a", 1)]


def test_a_transaction_rolls_back_when_its_block_raises(db: Database) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), db.transaction() as connection:
        twice(connection, "a")

    assert checkpoints(db) == []


def test_each_statement_of_a_connection_commits_by_itself(db: Database) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), db.connection() as connection:
        twice(connection, "a")

    assert checkpoints(db) == [("a", 1)]


def test_a_swallowed_error_does_not_pass_for_a_commit(db: Database) -> None:
    def swallow() -> None:
        with db.transaction() as connection:
            checkpoint(connection, "a")
            with pytest.raises(psycopg.errors.UniqueViolation):
                checkpoint(connection, "a")

    with pytest.raises(TransactionAbortedError):
        swallow()
    assert checkpoints(db) == []


def test_a_violated_constraint_reaches_the_caller_as_it_is(db: Database) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation), db.transaction() as connection:
        connection.execute("insert into haulage.checkpoints values ('a', null)")


@pytest.mark.parametrize(
    ("setting", "statement"),
    [("statement_timeout", "select pg_sleep(10)"), ("lock_timeout", "select pg_advisory_xact_lock(1)")],
)
def test_a_time_out_says_that_the_transaction_can_be_repeated(db: Database, setting: str, statement: str) -> None:
    def time_out() -> None:
        with db.transaction() as connection:
            connection.execute(f"set local {setting} = '20ms'".encode())
            connection.execute(statement.encode())

    with db.connect() as holder:
        holder.execute("select pg_advisory_lock(1)")
        with pytest.raises(BusyError, match="can be repeated"):
            time_out()


def test_a_session_ended_within_a_transaction_did_nothing(db: Database, admin_url: str) -> None:
    def be_ended() -> None:
        with db.transaction() as connection:
            checkpoint(connection, "a")
            with psycopg.connect(admin_url) as admin:
                admin.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
            checkpoint(connection, "b")

    with pytest.raises(NotReachableError) as raised:
        be_ended()
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert checkpoints(db) == []


def test_all_connections_in_use_is_an_error_of_its_own_after_the_time_to_wait(database_url: str) -> None:
    with (
        Database(database_url, size=1, wait_seconds=0.1) as small,
        small.connection(),
        pytest.raises(PoolExhaustedError, match="All 1 connections"),
        small.connection(),
    ):
        pass


def test_a_server_that_is_not_there_is_named_without_the_password(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}", query="").geturl()
    with Database(url, wait_seconds=0.2) as database:
        for attempt in (database.connect, lambda: checkpoints(database)):
            with pytest.raises(NotReachableError, match=f"127.0.0.1:{port} is not reachable") as raised:
                attempt()
            assert str(parts.password) not in str(raised.value)


def test_a_wrong_password_is_told_as_such(database_url: str) -> None:
    parts = urlsplit(database_url)
    wrong = parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":wrong@")).geturl()
    with Database(wrong, wait_seconds=0.2) as database, pytest.raises(NotReachableError, match="password"):
        database.connect()


def test_sessions_are_set_up_so_that_the_dead_and_the_frozen_are_noticed(database_url: str) -> None:
    with (
        Database(database_url, application_name="haulage test", idle_in_transaction_seconds=7) as database,
        database.connection() as pooled,
        database.connect() as direct,
    ):
        for connection in (pooled, direct):
            assert setting(connection, "client_connection_check_interval") == "500ms"
            assert setting(connection, "idle_in_transaction_session_timeout") == "7s"
            assert setting(connection, "default_transaction_isolation") == "read committed"
            assert setting(connection, "application_name") == "haulage test"


def setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
