"""What the simulated operations do: register names, in one step or in two.

What happens to an item follows from its name:

    ""             `check` rejects it
    "poison…"      the directory raises whenever it is asked to add it
    taken before   the fast way is refused; the careful way rejects the item
    others         are added
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from memory import InMemoryDirectory
from memory.directory import Owner
from pydantic import BaseModel

from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.manifest import Items
from haulage.domain.undo import UndoRecord
from haulage.sagas.definition import (
    Applied,
    Backoff,
    BulkStep,
    Checked,
    ChunkContext,
    Compensated,
    Definition,
    Definitions,
)


class Registration(BaseModel):
    """The parameters."""

    organization: str = "acme"


class RegisterNames:
    """The action: one name an item."""

    participant_name = "directory"

    def verify(self, participant: InMemoryDirectory, parameters: Registration) -> None:
        """The organization must be there."""
        participant.check_open(parameters.organization)

    def check(self, parameters: Registration, items: Items) -> Checked:
        """An empty name is rejected."""
        named = [(ordinal, name) for ordinal, name in enumerate(items.contents, items.first) if name]
        empty = [ordinal for ordinal, name in enumerate(items.contents, items.first) if not name]
        return Checked(
            ordinals=[ordinal for ordinal, _ in named],
            values=[name for _, name in named],
            rejected=[Outcome(ordinal, OutcomeKind.REJECTED, "empty") for ordinal in empty],
        )

    def apply(self, participant: InMemoryDirectory, chunk: ChunkContext, checked: Checked, *, careful: bool) -> Applied:
        """All names at once, or, carefully, those that are free."""
        participant.check_open(chunk.parameters.organization)
        names = {
            Owner(chunk.operation, chunk.step, ordinal): name
            for ordinal, name in zip(checked.ordinals, checked.values, strict=True)
        }
        taken = []
        if careful:
            taken = participant.add_free(names)
        else:
            participant.add_all(names)
        return Applied(
            exceptions=[Outcome(ordinal, OutcomeKind.REJECTED, "taken") for ordinal in taken],
            undo=[
                UndoRecord(owner.ordinal, {"name": name}) for owner, name in names.items() if owner.ordinal not in taken
            ],
        )

    def compensate(
        self,
        participant: InMemoryDirectory,
        chunk: ChunkContext,
        outcomes: Sequence[Outcome],
        undo: Sequence[UndoRecord],
    ) -> Compensated:
        """Remove what was added, unless somebody has changed it since."""
        changed = participant.remove(chunk.step, {record.ordinal: record.before["name"] for record in undo})
        return Compensated([Outcome(ordinal, OutcomeKind.SKIPPED, "changed") for ordinal in changed])


@dataclass(frozen=True, slots=True)
class Sizes:
    """Items a chunk, attempts before it is split, chunks in the window, events a group."""

    chunk_items: int
    attempts: int
    window: int
    group: int

    @classmethod
    def of(cls, random: Random) -> "Sizes":
        """Any small ones."""
        return cls(random.randint(1, 4), random.randint(1, 3), random.randint(1, 4), random.choice([1, 3, 50]))


def definitions(chunk_items: int, attempts: int) -> Definitions:
    """The kinds `register` (one step) and `register-twice` (two)."""
    backoff = Backoff(base_seconds=0.5, cap_seconds=2.0, attempts=attempts)

    def step(name: str) -> BulkStep:
        return BulkStep(name=name, action=RegisterNames(), chunk_items=chunk_items, backoff=backoff)

    def kind(name: str, *steps: str) -> Definition:
        return Definition(
            kind=name,
            version=1,
            summary="Registers names.",
            parameters=Registration,
            columns=(),
            steps=tuple(map(step, steps)),
        )

    return Definitions([kind("register", "here"), kind("register-twice", "here", "there")])
