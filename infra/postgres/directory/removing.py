"""The way back of what was added: users that an operation created are deleted, unless changed since."""

from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import tuple_row

from haulage.domain.directory import ordinal_of, user_id
from haulage.infra.postgres.directory import organizations

# In all three the range of ids is what makes the database use an index, also in the subqueries.
_USERS = """
delete from directory.users
where id between %(low)s and %(high)s and created_by = %(operation)s and version = 1 and not exists (
    select from directory.memberships
    where user_id = users.id and user_id between %(low)s and %(high)s
        and (organization_id is distinct from %(organization)s or memberships.version <> 1)
)
"""

_MEMBERSHIPS = """
delete from directory.memberships
where user_id between %(low)s and %(high)s and organization_id = %(organization)s and not exists (
    select from directory.users where id = memberships.user_id and id between %(low)s and %(high)s
)
"""

_LEFT = """
select id from directory.users where id between %(low)s and %(high)s and created_by = %(operation)s order by id
"""


def remove(connection: Connection[Any], operation: UUID, organization: str, first: int, last: int) -> list[int]:
    """Delete what `operation` created for the items `first` to `last`; the ordinals of users that had to stay.

    Three statements. Where the organization itself is gone, a membership in it is too, and any other one keeps a user.
    """
    part = {
        "operation": operation,
        "organization": organizations.id_of(connection, organization),
        "low": user_id(operation, first),
        "high": user_id(operation, last),
    }
    connection.execute(_USERS, part)
    connection.execute(_MEMBERSHIPS, part)
    left = connection.cursor(row_factory=tuple_row).execute(_LEFT, part)
    return [ordinal_of(user) for (user,) in left]
