"""The reference directory: organizations, users and memberships, and the port through which operations act on it.

It is a participant like any other; operations reach it through `Directory`, bound to the transaction that records what
they do. Ordinary writes go on beside operations: `version` counts a row's changes, whoever makes them, so that a
compensation can tell what was changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from haulage.domain.items import Outcome
from haulage.domain.undo import UndoRecord
from haulage.domain.user_row import UserRow


class OnConflict(StrEnum):
    """What becomes of an item whose e-mail the directory has already."""

    REJECT = "reject"
    SKIP = "skip"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization. People and parameters name it by its slug, a token."""

    id: UUID
    slug: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DirectorySize:
    """How many there are of each."""

    organizations: int
    users: int
    memberships: int


# -- the ids of imported users -----------------------------------------------------------------------------------------
ORDINAL_BITS = 40
"""More than a million million items in one operation."""


def user_ids(operation: UUID) -> str:
    """What the ids of all users that `operation` creates begin with: 22 hexadecimal digits, without hyphens.

    An id is a UUIDv8 (RFC 9562, section 5.8): the operation's first 48 bits, 34 bits of SHA-256 over the whole of its
    id, and the ordinal in the last 40 bits. So it follows from operation and ordinal, and a compensation needs no
    list; it ascends with the ordinal, and, since an operation's id begins with its time (UUIDv7), from operation to
    operation: inserts go to the end of the index.

    Two operations have the same beginning with a chance of 1 : 2^34 if their ids begin with the same millisecond, and
    of 1 : 2^82 if they are random (UUIDv4). Then the second one's inserts fail; nobody's user is taken for another's,
    because whoever removes by id also compares `created_by`.
    """
    digest = int.from_bytes(sha256(operation.bytes).digest()[:5]) >> 6
    high = (operation.int >> 80 << 16) | 8 << 12 | digest >> 22
    low = 0b10 << 22 | digest & ((1 << 22) - 1)
    return f"{high:016x}{low:06x}"


def user_id(operation: UUID, ordinal: int) -> UUID:
    """The id of the user that `operation` creates for the item `ordinal`; see `user_ids`."""
    if not 0 <= ordinal < 1 << ORDINAL_BITS:
        raise ValueError(f"an ordinal has at most {ORDINAL_BITS} bits: {ordinal}")
    return UUID(f"{user_ids(operation)}{ordinal:010x}")


def ordinal_of(user: UUID) -> int:
    """The item for which an operation created the user with this id."""
    return user.int & ((1 << ORDINAL_BITS) - 1)


# -- the port ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NewUsers:
    """Users to add to an organization, given by its slug: `rows[i]` is the item `ordinals[i]`, in ascending order."""

    operation: UUID
    organization: str
    ordinals: Sequence[int]
    rows: Sequence[UserRow]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of merged users: items that were not added or updated, and undo records of those updated."""

    exceptions: Sequence[Outcome] = ()
    undo: Sequence[UndoRecord] = ()


class Directory(Protocol):
    """The directory within one transaction. A fixed number of statements, however many users are given."""

    def create_organization(self, slug: str, name: str) -> Organization:
        """Create one. `RefusedError` where the slug is taken or no token."""

    def organization(self, slug: str) -> Organization:
        """The organization; `NotFoundError` where there is none."""

    def organizations(self) -> Sequence[Organization]:
        """All, by slug."""

    def member_counts(self) -> Mapping[UUID, int]:
        """How many members each organization has, by its id; those without any are left out."""

    def size(self) -> DirectorySize:
        """How many there are of each."""

    def add_users(self, new: NewUsers) -> None:
        """Add all, the fast way; `NotFoundError` where the organization is gone.

        `ParticipantRefusedError` where an item can't be added: the transaction can only be left then.
        """

    def merge_users(self, new: NewUsers, on_conflict: OnConflict) -> Merged:
        """Add those that can be added; what becomes of the others is told. `NotFoundError` as above.

        Of items with the same e-mail within one operation, one is added, or updates; the others never do. An update
        leaves what is not given as it is. Undo records are for `restore_users`.
        """

    def remove_users(self, operation: UUID, organization: str, first: int, last: int) -> Sequence[int]:
        """Remove the users that `operation` created for the items `first` to `last`, unless changed since.

        Changed is a user who was updated, whose role was, or who has become a member elsewhere. Returns their
        ordinals. What is gone already is not missed, so a repeat does nothing.
        """

    def restore_users(self, operation: UUID, organization: str, undo: Sequence[UndoRecord]) -> Sequence[Outcome]:
        """Give updated users and their memberships the values from before, where they still are as they were left.

        Returns the others, untouched: `changed_since` or `deleted_since`. Those that are as before already are neither
        touched nor returned, so a repeat does nothing.
        """
