"""Chunks that meet in the same e-mails at the same time: no valid row is lost, and a deadlock is nobody's reject."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from directory_imports import Import, directory, execute, people, user

from haulage.domain.directory import NewUsers, OnConflict
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.directory import PostgresDirectory, merging
from haulage.infra.postgres.errors import BusyError


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=6) as db:
        with directory(db) as participant:
            participant.create_organization("acme", "Acme")
        yield db


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def await_waiting(db: Database) -> None:
    """Until somebody waits for a lock."""
    deadline = time.monotonic() + 20
    while not execute(
        db, "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ):
        assert time.monotonic() < deadline, "nobody waits for a lock"


def add(participant: PostgresDirectory, *emails: str, careful: bool) -> None:
    """Add users in an operation of its own."""
    new = NewUsers(uuid4(), "acme", range(1, len(emails) + 1), [user(email) for email in emails])
    if careful:
        assert not participant.merge_users(new, OnConflict.REJECT).exceptions
    else:
        participant.add_users(new)


def test_a_chunk_waits_for_another_that_is_adding_the_same_e_mails_and_then_knows_better(
    db: Database, threads: ThreadPoolExecutor
) -> None:
    second = Import(db)
    with directory(db) as first:
        add(first, "x@example.org", "y@example.org", careful=False)
        waiting = threads.submit(
            second.apply, [user("y@example.org"), user("z@example.org"), user("X@example.org")], careful=True
        )
        await_waiting(db)
    waiting.result(20)
    assert second.codes == {1: "email_in_directory", 2: "", 3: "email_in_directory"}
    assert people(db).keys() == {"x@example.org", "y@example.org", "z@example.org"}


def test_a_chunk_that_waited_for_another_which_then_failed_adds_its_items(
    db: Database, threads: ThreadPoolExecutor
) -> None:
    second = Import(db)
    with pytest.raises(ZeroDivisionError), directory(db) as first:  # noqa: PT012 - the transaction is what raises
        add(first, "x@example.org", careful=False)
        waiting = threads.submit(second.apply, [user("x@example.org", "Second")], careful=True)
        await_waiting(db)
        raise ZeroDivisionError
    waiting.result(20)
    assert second.codes == {1: ""}
    assert people(db)["x@example.org"][0] == "Second"


@pytest.mark.parametrize("careful", [False, True])
def test_a_deadlock_is_an_error_to_be_repeated(db: Database, threads: ThreadPoolExecutor, careful: bool) -> None:
    def crossing(own: str, others: str, ready: Callable[[], object]) -> None:
        with directory(db) as participant:
            add(participant, own, careful=careful)
            ready()
            add(participant, others, careful=careful)

    with db.transaction() as connection:
        # The second half of each begins when both have done their first.
        connection.execute("select pg_advisory_xact_lock(1)")

        def ready() -> None:
            execute(db, "select pg_advisory_xact_lock_shared(1)")

        both = [
            threads.submit(crossing, "x@example.org", "y@example.org", ready),
            threads.submit(crossing, "y@example.org", "x@example.org", ready),
        ]
        deadline = time.monotonic() + 20
        while execute(db, "select count(*) from pg_locks where locktype = 'advisory' and not granted") != [(2,)]:
            assert time.monotonic() < deadline, "not both have come to the middle"
    errors = [future.exception(20) for future in both]
    assert sorted(type(error).__name__ for error in errors) == ["BusyError", "NoneType"]
    assert people(db).keys() == {"x@example.org", "y@example.org"}


def test_of_many_chunks_at_once_full_of_doubles_each_e_mail_gets_in_once(
    db: Database, threads: ThreadPoolExecutor
) -> None:
    chance = random.Random(4711)
    emails = [f"u{n}@example.org" for n in range(120)]
    operation = Import(db)
    chunks = [[user(chance.choice(emails)) for _ in range(60)] for _ in range(12)]

    def apply(index: int) -> None:
        for _ in range(20):
            try:
                operation.apply(chunks[index], first=index * 60 + 1)
            except BusyError:
                continue
            return
        raise AssertionError(f"chunk {index} was never applied")

    list(threads.map(apply, range(len(chunks))))
    offered = {row["email"] for chunk in chunks for row in chunk}
    codes = list(operation.codes.values())
    assert people(db).keys() == offered
    assert (codes.count(""), codes.count("email_in_file")) == (len(offered), 720 - len(offered))
    assert operation.roll_back() == {}
    assert people(db) == {}


def test_chunks_that_update_the_same_users_in_different_order_do_not_deadlock(
    db: Database, threads: ThreadPoolExecutor
) -> None:
    rows = [user(f"u{n}@example.org") for n in range(200)]
    Import(db).apply(rows)
    updates = [Import(db, "update") for _ in range(4)]

    def apply(index: int) -> None:
        given = [row | {"name": f"Name {index}"} for row in (rows if index % 2 else reversed(rows))]
        updates[index].apply(given, careful=True)

    list(threads.map(apply, range(4)))
    assert {code for operation in updates for code in operation.codes.values()} == {""}
    assert len({values[0] for values in people(db).values()}) == 1


@pytest.mark.parametrize(("on_conflict", "step"), [("reject", "_conflicts"), ("update", "update")])
def test_a_user_that_is_deleted_between_two_statements_makes_the_chunk_to_be_repeated(
    db: Database, monkeypatch: pytest.MonkeyPatch, on_conflict: str, step: str
) -> None:
    Import(db).apply([user("ann@example.org")])
    operation = Import(db, on_conflict)
    original = getattr(merging, step)

    def after_a_deletion(*args: Any) -> Any:
        with db.connect() as other:
            other.execute("delete from directory.users")
            other.execute("delete from directory.memberships where user_id not in (select id from directory.users)")
        return original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(merging, step, after_a_deletion)
        with pytest.raises(BusyError, match="Repeat"):
            operation.apply([user("ann@example.org")], careful=True)
    operation.apply([user("ann@example.org", "New")])
    assert operation.codes == {1: ""}
    assert people(db)["ann@example.org"][0] == "New"
