"""The directory bound to one open transaction."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.directory import DirectorySize, Merged, NewUsers, OnConflict, Organization
from haulage.domain.items import Outcome
from haulage.domain.undo import UndoRecord
from haulage.infra.postgres.directory import adding, merging, organizations, removing, restoring


class PostgresDirectory:
    """See `domain.directory.Directory`. `connection` is in a transaction at READ COMMITTED, in autocommit mode.

    Errors of psycopg that no item can have caused (a deadlock, a time-out, a lost connection) come through as they are.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def create_organization(self, slug: str, name: str) -> Organization:
        """Create one; `RefusedError` where the slug is taken or no token."""
        return organizations.create(self._connection, slug, name)

    def organization(self, slug: str) -> Organization:
        """The organization, or `NotFoundError`."""
        return organizations.find(self._connection, slug)

    def organizations(self) -> Sequence[Organization]:
        """All, by slug."""
        return organizations.all_by_slug(self._connection)

    def member_counts(self) -> Mapping[UUID, int]:
        """Members by organization; reads the whole index of memberships."""
        return organizations.member_counts(self._connection)

    def size(self) -> DirectorySize:
        """How many there are of each; reads an index of each table."""
        return organizations.size(self._connection)

    def add_users(self, new: NewUsers) -> None:
        """Two COPYs; `ParticipantRefusedError` where an item is refused."""
        adding.add(self._connection, new)

    def merge_users(self, new: NewUsers, on_conflict: OnConflict) -> Merged:
        """Add, skip, update or reject by sets."""
        return merging.merge(self._connection, new, on_conflict)

    def remove_users(self, operation: UUID, organization: str, first: int, last: int) -> Sequence[int]:
        """Delete a range of ids, unless changed since."""
        return removing.remove(self._connection, operation, organization, first, last)

    def restore_users(self, operation: UUID, organization: str, undo: Sequence[UndoRecord]) -> Sequence[Outcome]:
        """Give updated users their values back, unless changed since."""
        return restoring.restore(self._connection, operation, organization, undo)
