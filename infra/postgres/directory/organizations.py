"""Organizations: created one by one, found by slug, held while members are added."""

from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import class_row, tuple_row

from haulage.domain.directory import DirectorySize, Organization
from haulage.domain.errors import NotFoundError, RefusedError
from haulage.domain.identity import is_token

_COLUMNS = "id, slug, name, created_at"


def create(connection: Connection[Any], slug: str, name: str) -> Organization:
    """Create one; `RefusedError` where the slug is taken or no token, or the name empty or unusable."""
    if not is_token(slug):
        raise RefusedError(
            f"`{slug}` can't be a slug. Use 1 to 63 of the characters a-z, 0-9, - and _, beginning with a letter or "
            "digit."
        )
    if not name.strip() or "\0" in name:
        raise RefusedError("An organization's name must not be empty, nor contain a NUL character. Give another one.")
    created = (
        _organizations(connection)
        .execute(
            f"insert into directory.organizations (slug, name) values (%s, %s) on conflict do nothing"  # noqa: S608
            f" returning {_COLUMNS}",
            (slug, name.strip()),
        )
        .fetchone()
    )
    if created is None:
        raise RefusedError(f"There is an organization `{slug}` already. Choose another slug, or use that one.")
    return created


def find(connection: Connection[Any], slug: str) -> Organization:
    """The organization, or `NotFoundError`."""
    found = (
        _organizations(connection)
        .execute(f"select {_COLUMNS} from directory.organizations where slug = %s", (slug,))  # noqa: S608
        .fetchone()
    )
    if found is None:
        raise _unknown(slug)
    return found


def all_by_slug(connection: Connection[Any]) -> list[Organization]:
    """All of them."""
    query = f"select {_COLUMNS} from directory.organizations order by slug"  # noqa: S608
    return _organizations(connection).execute(query).fetchall()


def member_counts(connection: Connection[Any]) -> dict[UUID, int]:
    """How many members each organization has; those without any are left out."""
    query = "select organization_id, count(*) from directory.memberships group by organization_id"
    return dict(connection.cursor(row_factory=tuple_row).execute(query).fetchall())


def size(connection: Connection[Any]) -> DirectorySize:
    """How many there are of each."""
    query = """
        select (select count(*) from directory.organizations), (select count(*) from directory.users),
            (select count(*) from directory.memberships)
    """
    [row] = connection.cursor(row_factory=tuple_row).execute(query)
    return DirectorySize(*row)


def hold(connection: Connection[Any], slug: str) -> UUID:
    """The id of the organization, which can't be deleted before the transaction ends; `NotFoundError` without one."""
    query = "select id from directory.organizations where slug = %s for key share"
    row = connection.cursor(row_factory=tuple_row).execute(query, (slug,)).fetchone()
    if row is None:
        raise _unknown(slug)
    return row[0]  # type: ignore[no-any-return]


def id_of(connection: Connection[Any], slug: str) -> UUID | None:
    """The id of the organization; None where it is gone."""
    query = "select id from directory.organizations where slug = %s"
    row = connection.cursor(row_factory=tuple_row).execute(query, (slug,)).fetchone()
    return row[0] if row else None


def _organizations(connection: Connection[Any]) -> Cursor[Organization]:
    return connection.cursor(row_factory=class_row(Organization))


def _unknown(slug: str) -> NotFoundError:
    return NotFoundError(
        f"There is no organization `{slug}`. Create it with `haulage directory organization create {slug}`, or correct "
        "the name."
    )
