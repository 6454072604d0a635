"""A directory of names in memory: a participant in the engine's own database, in which each name is unique.

`OWNERS` holds who added a name: operation, step and ordinal. `changed` are names somebody else has changed since.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from haulage.domain.errors import ParticipantRefusedError, RefusedError
from memory.database import Transaction

OWNERS, CHANGED, CLOSED = "directory", "directory_changed", "directory_closed"


class Owner(NamedTuple):
    """The item that added a name."""

    operation: UUID
    step: str
    ordinal: int


class InMemoryDirectory:
    """The directory in one transaction. Names are unique within a step's name."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def check_open(self, organization: str) -> None:
        """`RefusedError` for an organization that is gone."""
        if self._transaction.read(CLOSED, organization):
            raise RefusedError(f"there is no organization `{organization}`")

    def add_all(self, names: Mapping[Owner, str]) -> None:
        """Add all of them, or `ParticipantRefusedError` where one is taken."""
        if self.add_free(names):
            raise ParticipantRefusedError("a name is taken")

    def add_free(self, names: Mapping[Owner, str]) -> list[int]:
        """Add those that are free; the ordinals of the others. `ValueError` for any that begins with `poison`."""
        taken = []
        for owner, name in names.items():
            if name.startswith("poison"):
                raise ValueError(f"{name} is too much")
            self._transaction.lock(OWNERS, (owner.step, name))
            if self._transaction.read(OWNERS, (owner.step, name)) is None:
                self._transaction.write(OWNERS, (owner.step, name), owner)
            else:
                taken.append(owner.ordinal)
        return taken

    def remove(self, step: str, names: Mapping[int, str]) -> list[int]:
        """Remove the names, by ordinal; the ordinals of those that were changed since, which stay."""
        changed = [ordinal for ordinal, name in names.items() if self._transaction.read(CHANGED, name)]
        for ordinal, name in names.items():
            if ordinal not in changed:
                self._transaction.delete(OWNERS, (step, name))
        return changed
