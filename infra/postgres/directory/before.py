"""The undo record of an updated user: how user and membership were, and how the update left them."""

from typing import TypedDict


class Person(TypedDict):
    """The values of a user that an import changes."""

    name: str
    external_id: str | None
    locale: str | None
    department: str | None


class Before(TypedDict):
    """JSON of one undo record; these names are the storage format.

    A rollback compares with what the update left rather than with a version: so a later import can be rolled back
    first, which brings what this one left back again, and then this one.

    `role_left` is None where the membership was not changed; else `role_was` is None where it was created.
    """

    user: str
    was: Person
    left: Person
    changed_by: str | None
    role_was: str | None
    role_left: str | None
