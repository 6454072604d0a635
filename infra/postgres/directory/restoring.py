"""The way back of what was updated: users and memberships get their values from before, unless changed since."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

from psycopg import Connection
from psycopg.rows import tuple_row

from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.undo import UndoRecord
from haulage.infra.postgres.directory import organizations
from haulage.infra.postgres.directory.before import Before, Person

_LOCK_USERS = """
select id, name, external_id, locale, department from directory.users
where id = any(%s) order by id for no key update
"""

_LOCK_MEMBERSHIPS = """
select user_id, role from directory.memberships
where user_id = any(%s) and organization_id = %s order by user_id for update
"""

# Changed again by somebody else, in values that are not ours: changed_by is theirs then, and stays.
_RESTORE_USERS = """
update directory.users set
    name = was.name, external_id = was.external_id, locale = was.locale, department = was.department,
    changed_by = case when users.changed_by = %(operation)s then was.changed_by else users.changed_by end
from unnest(
    %(users)b::uuid[], %(name)b::text[], %(external_id)b::text[], %(locale)b::text[], %(department)b::text[],
    %(changed_by)b::uuid[]
) as was(id, name, external_id, locale, department, changed_by)
where users.id = was.id
"""

_RESTORE_ROLES = """
update directory.memberships set role = was.role
from unnest(%s::uuid[], %s::text[]) as was(user_id, role)
where memberships.user_id = was.user_id and organization_id = %s
"""

_REMOVE_MEMBERSHIPS = "delete from directory.memberships where user_id = any(%s) and organization_id = %s"


class _Present(NamedTuple):
    """Users and their roles in the organization as they are, by the user's id; both locked."""

    persons: Mapping[UUID, Person]
    roles: Mapping[UUID, str]


def restore(
    connection: Connection[Any], operation: UUID, organization: str, undo: Sequence[UndoRecord]
) -> list[Outcome]:
    """Restore what is as it was left; the outcomes of what is not. At most six statements."""
    if not undo:
        return []
    records = {record.ordinal: cast("Before", record.before) for record in undo}
    organization_id = organizations.id_of(connection, organization)
    present = _lock(connection, organization_id, [UUID(before["user"]) for before in records.values()])
    codes = {ordinal: _what_hinders(before, present) for ordinal, before in records.items()}
    free = [before for ordinal, before in records.items() if codes[ordinal] is None]
    _restore_users(connection, operation, [before for before in free if not _is_back(before, present)])
    _restore_memberships(connection, organization_id, [before for before in free if before["role_left"]])
    return [Outcome(ordinal, OutcomeKind.SKIPPED, code) for ordinal, code in sorted(codes.items()) if code]


def _what_hinders(before: Before, present: _Present) -> str | None:
    """Why this must be left alone, or None. What is back as it was already hinders nothing."""
    user = UUID(before["user"])
    if user not in present.persons:
        return "deleted_since"
    if present.persons[user] not in (before["left"], before["was"]):
        return "changed_since"
    if before["role_left"] and present.roles.get(user) not in (before["role_left"], before["role_was"]):
        return "changed_since"
    return None


def _is_back(before: Before, present: _Present) -> bool:
    user = UUID(before["user"])
    role_is_back = before["role_left"] is None or present.roles.get(user) == before["role_was"]
    return role_is_back and present.persons[user] == before["was"]


def _lock(connection: Connection[Any], organization: UUID | None, users: Sequence[UUID]) -> _Present:
    cursor = connection.cursor(row_factory=tuple_row)
    persons = {
        user: Person(name=name, external_id=external_id, locale=locale, department=department)
        for user, name, external_id, locale, department in cursor.execute(_LOCK_USERS, (users,))
    }
    return _Present(persons, dict(cursor.execute(_LOCK_MEMBERSHIPS, (users, organization)).fetchall()))


def _restore_users(connection: Connection[Any], operation: UUID, befores: Sequence[Before]) -> None:
    if befores:
        parameters = {name: [before["was"][name] for before in befores] for name in Person.__annotations__}  # type: ignore[literal-required]
        parameters["users"] = [before["user"] for before in befores]
        parameters["changed_by"] = [before["changed_by"] for before in befores]
        connection.execute(_RESTORE_USERS, {**parameters, "operation": operation})


def _restore_memberships(connection: Connection[Any], organization: UUID | None, befores: Sequence[Before]) -> None:
    """Roles that were changed get the old one; memberships that were created go. A repeat finds neither."""
    roles = [(before["user"], before["role_was"]) for before in befores if before["role_was"]]
    if roles:
        users, were = map(list, zip(*roles, strict=True))
        connection.execute(_RESTORE_ROLES, (users, were, organization))
    created = [before["user"] for before in befores if not before["role_was"]]
    if created:
        connection.execute(_REMOVE_MEMBERSHIPS, (created, organization))
