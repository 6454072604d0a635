"""Brings a database's schema to the version of this code.

Migrations are numbered SQL files. Each is applied once, in its own transaction together with its row in
haulage.migrations, under a session advisory lock: two processes that migrate at the same time follow one another, and
one that dies leaves whole migrations behind and no lock. A file that was applied is never edited again; its checksum
shows it.

In the files `{app_role}` stands for the application's role, quoted. Statements that begin a line with `grant` are also
what a role that comes later gets, so that one can start with a single URL and separate the roles afterwards.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from haulage.infra.postgres.errors import MigrationError, translated

FOLDER = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_GRANT = re.compile(r"^grant\b[^;]*;", re.MULTILINE)
# One at a time in a database. The number only has to differ from the log's own lock.
_LOCK = 20338032930539334

_Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file. `name` is the file's without the ending; `checksum` that of its bytes."""

    number: int
    name: str
    checksum: str
    text: str

    def script(self, role: str) -> bytes:
        """The SQL with the application's role filled in."""
        return _for_role(self.text, role)

    def grants(self, role: str) -> bytes:
        """Only the rights that the file gives to the application's role."""
        return _for_role("\n".join(_GRANT.findall(self.text)), role)


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations in `folder`, by number. MigrationError: a name that does not fit, a number used twice."""
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path} is no migration: its name should be like 0001_log.sql.")
        number = int(match[1])
        if number in found:
            raise MigrationError(f"Two migrations have the number {number}: {found[number].name} and {path.stem}.")
        content = path.read_bytes()
        found[number] = Migration(number, path.stem, hashlib.sha256(content).hexdigest(), content.decode())
    return list(found.values())


def migrate(admin_url: str, app_url: str, *, folder: Path = FOLDER) -> list[str]:
    """Applies what is missing and returns the names of what it applied, in order; a repeat does nothing.

    Runs as the role of `admin_url`, which will own everything; creates the role of `app_url` if there is none, with the
    password of that URL, and gives it its rights. Raises MigrationError when the database has a migration that was
    edited since, that is missing here or that this version does not know, and NotReachableError.
    """
    known = migrations(folder)
    role = _role(app_url)
    try:
        with psycopg.connect(admin_url, autocommit=True, application_name="haulage migrate") as connection:
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
            _prepare(connection)
            pending = _pending(known, _applied(connection))
            _create_role(connection, role, app_url)
            # A role that came after these were applied; and every role, the first time.
            if not _has_rights(connection, role):
                _grant(connection, role, [migration for migration in known if migration not in pending])
            for migration in pending:
                _apply(connection, migration, role)
            return [migration.name for migration in pending]
    except psycopg.OperationalError as error:
        raise translated(error, "to migrate") from error


def pending_migrations(connection: _Connection, *, folder: Path = FOLDER) -> list[str]:
    """The names of what `migrate` would apply; raises MigrationError where it would. For `doctor`, under any role."""
    return [migration.name for migration in _pending(migrations(folder), _applied(connection))]


def log_owner_problem(connection: _Connection) -> str | None:
    """Why the role of `connection` could change the log's past, as a sentence, or None when it could not."""
    row = connection.execute(
        """
        select current_user, rolsuper, pg_has_role(oid, (select relowner from pg_class where oid = log), 'member'),
            has_table_privilege(log, 'update') or has_any_column_privilege(log, 'update')
                or has_table_privilege(log, 'delete') or has_table_privilege(log, 'truncate')
        from pg_roles, to_regclass('haulage.events') as log where rolname = current_user
        """
    ).fetchone()
    assert row is not None
    role, is_superuser, is_owner, may_change = row
    reason = "is a superuser" if is_superuser else "owns it" if is_owner else "has rights to" if may_change else None
    if reason is None:
        return None
    return (
        f"The role {role} could change the log, since it {reason}. Put another role's name and password into "
        "HAULAGE_POSTGRES_URL, keep this one in HAULAGE_POSTGRES_ADMIN_URL, and run `haulage migrate`."
    )


def _for_role(text: str, role: str) -> bytes:
    return text.replace("{app_role}", sql.Identifier(role).as_string()).encode()


def _role(url: str) -> str:
    """The role that `url` logs in as; without one in it, libpq's choice (PGUSER, then the user of this process)."""
    if user := conninfo_to_dict(url).get("user"):
        return str(user)
    defaults = {option.keyword: option.val for option in psycopg.pq.Conninfo.get_defaults()}
    return (defaults[b"user"] or b"").decode()


def _prepare(connection: _Connection) -> None:
    connection.execute("create schema if not exists haulage")
    connection.execute(
        """
        create table if not exists haulage.migrations (
            number     integer     primary key,
            name       text        not null,
            checksum   text        not null,
            applied_at timestamptz not null default clock_timestamp()
        )
        """
    )


def _applied(connection: _Connection) -> dict[int, tuple[str, str]]:
    if connection.execute("select to_regclass('haulage.migrations')").fetchone() == (None,):
        return {}
    rows = connection.execute("select number, name, checksum from haulage.migrations order by number").fetchall()
    return {cast("int", number): (cast("str", name), cast("str", checksum)) for number, name, checksum in rows}


def _pending(known: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    files = {migration.number: migration for migration in known}
    newest = max(files, default=0)
    for number, (name, checksum) in applied.items():
        if number > newest:
            raise MigrationError(
                f"The database has migration {name}, which is newer than this version of Haulage. Install the version "
                "that the database was migrated with, or a later one."
            )
        if number not in files:
            raise MigrationError(f"The database has migration {name}, but its file is missing here. Reinstall Haulage.")
        if files[number].checksum != checksum:
            raise MigrationError(
                f"Migration {files[number].name} was edited after it was applied to this database. Put the file back "
                "as it was and write the change as a new migration."
            )
    last = max(applied, default=0)
    pending = [migration for migration in known if migration.number not in applied]
    for migration in pending:
        if migration.number < last:
            raise MigrationError(
                f"Migration {migration.name} comes before {applied[last][0]}, which was applied already. Give it "
                "a number after that one."
            )
    return pending


def _apply(connection: _Connection, migration: Migration, role: str) -> None:
    with connection.transaction():
        try:
            connection.execute(migration.script(role))
        except psycopg.Error as error:
            raise MigrationError(f"Migration {migration.name} was not applied: {error}") from error
        connection.execute(
            "insert into haulage.migrations (number, name, checksum) values (%s, %s, %s)",
            (migration.number, migration.name, migration.checksum),
        )


def _create_role(connection: _Connection, role: str, app_url: str) -> None:
    """Creates the application's role; one that exists keeps its password and attributes."""
    if connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
        return
    password = conninfo_to_dict(app_url).get("password")
    create = sql.SQL("create role {} login nosuperuser nocreatedb nocreaterole").format(sql.Identifier(role))
    if password:
        # Hashed here, so that the server's own log never holds it.
        hashed = connection.pgconn.encrypt_password(str(password).encode(), role.encode(), b"scram-sha-256")
        create += sql.SQL(" password {}").format(sql.Literal(hashed.decode()))
    try:
        connection.execute(create)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Roles belong to the cluster: the migration of another database of it was faster.
        return
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"The role {role} does not exist and {connection.info.user} may not create it. Have it created with: "
            f"CREATE ROLE {sql.Identifier(role).as_string(connection)} LOGIN PASSWORD '…';"
        ) from error


def _has_rights(connection: _Connection, role: str) -> bool:
    """Whether `role` had been given its rights: reading the migrations is the one it gets from here."""
    row = connection.execute(
        "select has_schema_privilege(%(role)s, 'haulage', 'usage')"
        " and has_table_privilege(%(role)s, 'haulage.migrations', 'select')",
        {"role": role},
    ).fetchone()
    return row == (True,)


def _grant(connection: _Connection, role: str, applied: Sequence[Migration]) -> None:
    with connection.transaction():
        # Temporary tables: chunks are diagnosed in them.
        connection.execute(
            sql.SQL("grant connect, temporary on database {} to {role}").format(
                sql.Identifier(connection.info.dbname), role=sql.Identifier(role)
            )
        )
        connection.execute(
            sql.SQL("grant usage on schema haulage to {role}; grant select on haulage.migrations to {role}").format(
                role=sql.Identifier(role)
            )
        )
        for migration in applied:
            connection.execute(migration.grants(role) or b"select")
