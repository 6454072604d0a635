"""Rows of new users as the columns of the tables they go into."""

from collections.abc import Sequence

from haulage.domain.directory import NewUsers, user_ids
from haulage.domain.user_row import UserRow

OPTIONAL = ("external_id", "locale", "department")


def ids_of(new: NewUsers) -> list[str]:
    """The users' ids, in hexadecimal."""
    beginning = user_ids(new.operation)
    return [f"{beginning}{ordinal:010x}" for ordinal in new.ordinals]


def person_columns(rows: Sequence[UserRow]) -> dict[str, Sequence[str]]:
    """What a user is made of; what was not given is empty."""
    given = {name: [row.get(name) or "" for row in rows] for name in OPTIONAL}
    return {
        "email": [row["email"] for row in rows],
        "name": [row["name"] for row in rows],
        # COPY gives NULL to columns that are left out, and the server parses less.
        **{name: values for name, values in given.items() if any(values)},
    }


def roles_of(rows: Sequence[UserRow]) -> list[str]:
    """The roles of their memberships."""
    return [row["role"] for row in rows]
