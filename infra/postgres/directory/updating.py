"""Users that the directory has already get new values; their values from before are kept for a rollback."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import tuple_row

from haulage.domain.undo import UndoRecord
from haulage.domain.user_row import UserRow
from haulage.infra.postgres.directory.before import Before, Person
from haulage.infra.postgres.directory.rows import OPTIONAL
from haulage.infra.postgres.errors import BusyError

# In the order of ids, so that two chunks with the same users wait for one another instead of deadlocking.
_LOCK = "select id from directory.users where id = any(%s) order by id for no key update"

# The role first: that it changed counts as a change of the user.
_UPDATE = """
with given as (
    select * from unnest(
        %(ordinals)b::bigint[], %(users)b::uuid[], %(name)b::text[], %(external_id)b::text[], %(locale)b::text[],
        %(department)b::text[], %(role)b::text[]
    ) as given(ordinal, user_id, name, external_id, locale, department, role)
), membership as (
    insert into directory.memberships as present (user_id, organization_id, role)
    select user_id, %(organization)s, role from given
    on conflict (user_id, organization_id) do update set role = excluded.role where present.role <> excluded.role
    returning user_id, old.role as role_was, new.role as role_left
)
update directory.users set
    name = given.name,
    external_id = coalesce(given.external_id, users.external_id),
    locale = coalesce(given.locale, users.locale),
    department = coalesce(given.department, users.department),
    changed_by = %(operation)s
from given left join membership on membership.user_id = given.user_id
where users.id = given.user_id and (
    membership.user_id is not null
    or users.name <> given.name
    or users.external_id <> given.external_id or users.external_id is null and given.external_id is not null
    or users.locale <> given.locale or users.locale is null and given.locale is not null
    or users.department <> given.department or users.department is null and given.department is not null
)
returning given.ordinal, users.id,
    old.name, old.external_id, old.locale, old.department,
    new.name, new.external_id, new.locale, new.department,
    old.changed_by, membership.role_was, membership.role_left
"""


class Target(NamedTuple):
    """The item `ordinal` gives `row` to the user with the id `user`."""

    ordinal: int
    user: UUID
    row: UserRow


def update(
    connection: Connection[Any], operation: UUID, organization: UUID, targets: Sequence[Target]
) -> list[UndoRecord]:
    """Update users and their memberships; what is not given stays. Two statements.

    Returns an undo record for each user that this changed. The targets' users differ. `BusyError` where one of them
    has been deleted meanwhile: the transaction can be repeated.
    """
    if not targets:
        return []
    users = [target.user for target in targets]
    cursor = connection.cursor(row_factory=tuple_row)
    if len(cursor.execute(_LOCK, (users,)).fetchall()) < len(users):
        raise BusyError("A user was deleted from the directory just while it was updated. Repeat the chunk.")
    given = {name: [target.row.get(name) or None for target in targets] for name in ("name", *OPTIONAL, "role")}
    parameters = {
        "operation": operation,
        "organization": organization,
        "ordinals": [target.ordinal for target in targets],
        "users": users,
    }
    return [_undo_record(*row) for row in cursor.execute(_UPDATE, parameters | given)]


def _undo_record(ordinal: int, user: UUID, *values: Any) -> UndoRecord:
    changed_by, role_was, role_left = values[8:]
    before = Before(
        user=str(user),
        was=_person(values[:4]),
        left=_person(values[4:8]),
        changed_by=str(changed_by) if changed_by else None,
        role_was=role_was,
        role_left=role_left,
    )
    return UndoRecord(ordinal, dict(before))


def _person(values: Sequence[Any]) -> Person:
    name, external_id, locale, department = values
    return Person(name=name, external_id=external_id, locale=locale, department=department)
