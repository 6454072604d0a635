"""Rows of new users as columns of the table they go into."""

from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

from haulage.domain.directory import user_ids
from haulage.domain.user_row import UserRow

OPTIONAL: tuple[Literal["external_id", "locale", "department"], ...] = ("external_id", "locale", "department")


def ids_of(operation: UUID, ordinals: Iterable[int]) -> list[str]:
    """The ids of the users that `operation` creates for these items, in hexadecimal."""
    beginning = user_ids(operation)
    return [f"{beginning}{ordinal:010x}" for ordinal in ordinals]


def person_columns(rows: Sequence[UserRow]) -> dict[str, Sequence[str]]:
    """What a user is made of; what was not given is empty."""
    given = {name: [row.get(name) or "" for row in rows] for name in OPTIONAL}
    return {
        "email": [row["email"] for row in rows],
        "name": [row["name"] for row in rows],
        # COPY gives NULL to columns that are left out, and the server parses less.
        **{name: values for name, values in given.items() if any(values)},
    }
