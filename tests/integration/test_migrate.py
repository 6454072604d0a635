"""Migrations: applied once and in order, refused when edited, missing or newer, and rights for whatever role comes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from haulage.domain.errors import NotReachableError
from haulage.infra.postgres.errors import MigrationError
from haulage.infra.postgres.migrate import FOLDER, log_owner_problem, migrate, migrations, pending_migrations


@pytest.fixture
def empty(admin_url: str) -> Iterator[str]:
    """The administrator's URL of a database without anything."""
    name = f"t_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def app(empty: str) -> Iterator[str]:
    """The URL of a role that does not exist yet."""
    role = f"app_{uuid4().hex}"
    yield as_role(empty, role, "s3cret")
    with psycopg.connect(empty, autocommit=True) as connection:
        if connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
            connection.execute(f"drop owned by {role}; drop role {role}".encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations of our own."""
    (tmp_path / "0001_first.sql").write_text(
        "create table haulage.first (n integer);\ngrant select on haulage.first to {app_role};\n"
    )
    (tmp_path / "0002_second.sql").write_text("create table haulage.second (n integer);\n")
    return tmp_path


def as_role(url: str, role: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select relname from pg_class where relnamespace = 'haulage'::regnamespace"
            " and relkind = 'r' and relname <> 'migrations' order by 1"
        )
        return [name for (name,) in rows]


def test_what_is_shipped_is_applied_in_order_and_once(empty: str, app: str) -> None:
    names = [migration.name for migration in migrations()]

    assert names[0] == "0001_log"
    assert migrate(empty, app) == names
    assert migrate(empty, app) == []
    with psycopg.connect(app) as connection:
        assert connection.execute("select name from haulage.migrations order by number").fetchall() == [
            (name,) for name in names
        ]
        assert pending_migrations(connection) == []


def test_the_applications_role_is_made_with_its_password_and_without_powers(empty: str, app: str) -> None:
    migrate(empty, app)

    with psycopg.connect(app) as connection:
        row = connection.execute(
            "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication from pg_roles"
            " where rolname = current_user"
        ).fetchone()
        assert row == (True, False, False, False, False, False)
        connection.execute("create temporary table diagnosed (n integer)")


def test_a_new_migration_is_applied_on_its_own(empty: str, app: str, folder: Path) -> None:
    assert migrate(empty, app, folder=folder) == ["0001_first", "0002_second"]
    (folder / "0003_third.sql").write_text("create table haulage.third (n integer);")
    with psycopg.connect(app) as connection:
        assert pending_migrations(connection, folder=folder) == ["0003_third"]

    assert migrate(empty, app, folder=folder) == ["0003_third"]

    assert tables(empty) == ["first", "second", "third"]


def test_an_edited_migration_is_refused(empty: str, app: str, folder: Path) -> None:
    migrate(empty, app, folder=folder)
    with (folder / "0001_first.sql").open("a") as file:
        file.write("-- only a comment\n")

    with pytest.raises(MigrationError, match="Migration 0001_first was edited after it was applied"):
        migrate(empty, app, folder=folder)


def test_a_database_that_is_newer_than_the_code_is_refused(empty: str, app: str, folder: Path) -> None:
    migrate(empty, app, folder=folder)
    (folder / "0002_second.sql").unlink()

    with pytest.raises(MigrationError, match="has migration 0002_second, which is newer than this version"):
        migrate(empty, app, folder=folder)


def test_a_missing_migration_is_refused(empty: str, app: str, folder: Path) -> None:
    migrate(empty, app, folder=folder)
    (folder / "0001_first.sql").unlink()

    with pytest.raises(MigrationError, match="has migration 0001_first, but its file is missing"):
        migrate(empty, app, folder=folder)


def test_a_migration_that_slipped_in_before_an_applied_one_is_refused(empty: str, app: str, folder: Path) -> None:
    (folder / "0002_second.sql").rename(folder / "0005_fifth.sql")
    migrate(empty, app, folder=folder)
    (folder / "0003_third.sql").write_text("select 1;")

    with pytest.raises(MigrationError, match="0003_third comes before 0005_fifth"):
        migrate(empty, app, folder=folder)


@pytest.mark.parametrize("name", ["1_short.sql", "0001_other.sql", "0003_Upper.sql"])
def test_a_file_whose_name_does_not_fit_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("select 1;")

    with pytest.raises(MigrationError):
        migrations(folder)


def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(empty: str, app: str, folder: Path) -> None:
    (folder / "0002_second.sql").write_text("create table haulage.second (n integer); select 1 / 0;")

    with pytest.raises(MigrationError, match="Migration 0002_second was not applied: division by zero"):
        migrate(empty, app, folder=folder)

    assert tables(empty) == ["first"]


def test_processes_that_migrate_at_the_same_time_follow_one_another(empty: str, app: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty, app), range(4)))

    assert sorted(map(len, applied)) == [0, 0, 0, len(migrations())]


def test_databases_of_one_cluster_that_are_migrated_at_the_same_time_share_the_role(
    empty: str, app: str, admin_url: str
) -> None:
    other = f"t_{uuid4().hex}"
    of_other = urlsplit(admin_url)._replace(path=f"/{other}").geturl()
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"create database {other}".encode())
    try:
        with ThreadPoolExecutor(2) as pool:
            applied = list(pool.map(lambda url: migrate(url, app), [empty, of_other]))
        assert [len(names) for names in applied] == [len(migrations())] * 2
    finally:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            connection.execute(f"drop database {other} with (force)".encode())


def test_one_url_for_both_roles_works_and_doctor_objects(empty: str) -> None:
    assert migrate(empty, empty)
    assert migrate(empty, empty) == []

    with psycopg.connect(empty) as connection:
        assert log_owner_problem(connection) is not None


def test_a_role_that_comes_later_gets_the_same_rights_as_one_that_was_there_first(
    empty: str, app: str, admin_url: str, database_url: str
) -> None:
    migrate(empty, empty)

    assert migrate(empty, app) == []

    first = privileges(admin_url, urlsplit(database_url).username)
    assert ("events", "notification_id", "INSERT") in first
    assert privileges(empty, urlsplit(app).username) == first
    with psycopg.connect(app) as connection:
        assert log_owner_problem(connection) is None
        assert connection.execute("select haulage.horizon() > 0").fetchone() == (True,)


def test_a_role_that_exists_keeps_its_password(empty: str, app: str) -> None:
    migrate(empty, app)
    role = urlsplit(app).username
    assert role is not None

    migrate(empty, as_role(empty, role, "another"))

    with psycopg.connect(app) as connection:
        assert connection.info.user == role


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(NotReachableError, match="not reachable"):
        migrate("postgresql://a:b@127.0.0.1:1/x", "postgresql://a:b@127.0.0.1:1/x")


def test_every_shipped_migration_opens_with_prose_and_grants_one_to_a_line() -> None:
    for migration in migrations():
        assert migration.text.startswith("-- "), migration.name
        # `migrate` finds the rights of a later role by these lines.
        granted = migration.grants("somebody").decode().count('to "somebody"')
        assert granted == migration.text.count("{app_role}"), migration.name
    assert FOLDER.is_dir()


def privileges(url: str, role: str | None) -> set[tuple[str, str, str]]:
    """Table, column and privilege, for whole tables too."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select table_name, column_name, privilege_type from information_schema.column_privileges"
            " where grantee = %s union all"
            " select table_name, '', privilege_type from information_schema.table_privileges where grantee = %s",
            (role, role),
        )
        return {(table, column, privilege) for table, column, privilege in rows}
