"""The log is append-only: for the application's role by its rights, for the owner by triggers."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from log_samples import append_alone, noted

from haulage.infra.postgres.database import Database
from haulage.infra.postgres.migrate import log_owner_problem

CHANGES = [
    "update haulage.events set topic = 'other'",
    "update haulage.events set originator_version = 5 where false",
    "delete from haulage.events",
    "truncate haulage.events",
    "truncate haulage.events cascade",
]
STRENGTHS = ("update", "no key update", "share", "key share")
ROW_LOCKS = [f"select * from haulage.events for {strength}" for strength in STRENGTHS]


@pytest.fixture
def app(database_url: str) -> Iterator[psycopg.Connection]:
    with Database(database_url) as database:
        append_alone(database, noted(uuid4(), 0, "one"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def admin(app: psycopg.Connection, admin_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("statement", [*CHANGES, *ROW_LOCKS])
def test_the_applications_role_may_neither_change_nor_lock_events(app: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "update haulage.history set xid_offset = 0",
        "delete from haulage.history",
        "insert into haulage.history (only_row) values (true)",
        "drop table haulage.events",
        "alter table haulage.events disable trigger all",
        "drop trigger events_are_append_only on haulage.events",
        "create table haulage.mine (n integer)",
        "create or replace function haulage.horizon() returns bigint language sql return 0",
        "delete from haulage.migrations",
    ],
)
def test_the_applications_role_may_not_change_what_protects_the_log(app: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement.encode())


def test_the_applications_role_may_not_say_when_an_event_was_recorded(app: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(
            "insert into haulage.events (originator_id, originator_version, topic, state, notification_id, recorded_at)"
            " values (gen_random_uuid(), 1, 't', '', 1, '2001-01-01')"
        )


@pytest.mark.parametrize("statement", CHANGES)
def test_triggers_stop_the_owner_and_a_superuser_too(admin: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        admin.execute(statement.encode())
    assert admin.execute("select count(*), min(topic) from haulage.events").fetchone() == (1, "test.noted.v1")


def test_triggers_also_fire_for_a_session_that_replicates(admin: psycopg.Connection) -> None:
    admin.execute("set session_replication_role = replica")

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        admin.execute("delete from haulage.events")


def test_doctor_objects_to_a_superuser_and_to_an_owner_but_not_to_the_applications_role(
    app: psycopg.Connection, admin: psycopg.Connection
) -> None:
    assert log_owner_problem(app) is None
    assert "is a superuser" in (log_owner_problem(admin) or "")

    role = f"owner_{uuid4().hex}"
    admin.execute(f"create role {role}".encode())
    try:
        admin.execute(f"grant usage on schema haulage to {role}; alter table haulage.events owner to {role}".encode())
        admin.execute(f"set role {role}".encode())
        assert "since it owns it" in (log_owner_problem(admin) or "")
    finally:
        admin.execute("reset role")
        admin.execute(f"drop owned by {role} cascade; drop role {role}".encode())


def test_doctor_objects_to_a_role_that_was_given_the_right_to_change_the_log(
    app: psycopg.Connection, admin: psycopg.Connection
) -> None:
    admin.execute(f"grant delete on haulage.events to {app.info.user}".encode())

    assert "has rights to" in (log_owner_problem(app) or "")
