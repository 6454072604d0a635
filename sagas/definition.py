"""Definitions: the code of a kind of operation, read as a list of steps.

A bulk step has an *action*. Its three parts are kept apart so that each can be what it must be: `check` is pure and
runs outside any transaction, `apply` and `compensate` run inside the transaction that records them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from haulage.domain.errors import NotFoundError
from haulage.domain.items import MAX_CHUNK_ITEMS, Outcome
from haulage.domain.manifest import Items
from haulage.domain.undo import UndoRecord


@dataclass(frozen=True, slots=True)
class ChunkContext:
    """Which chunk of which operation an action works on. `parameters` are the definition's, validated."""

    operation: UUID
    tenant: str
    step: str
    first: int
    last: int
    parameters: Any


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` made of a chunk's items: `values[i]` belongs to the item `ordinals[i]`; the others are rejected."""

    ordinals: Sequence[int]
    values: Sequence[Any]
    rejected: Sequence[Outcome] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did: outcomes that are not `succeeded` (beyond those `check` rejected), and undo records.

    Items that were newly made need no undo record where their keys follow from operation and ordinal.
    """

    exceptions: Sequence[Outcome] = ()
    undo: Sequence[UndoRecord] = ()


@dataclass(frozen=True, slots=True)
class Compensated:
    """What `compensate` left: items that had changed since, and so were not touched."""

    conflicting: Sequence[Outcome] = ()


class Action(Protocol):
    """The action of a bulk step with transactional binding.

    `participant` is the adapter registered under `participant_name`, bound to the open transaction.
    """

    participant_name: str

    def verify(self, participant: Any, parameters: Any) -> None:
        """Before anything is stored: raise `RefusedError` where these parameters can't work (an unknown name, say)."""

    def check(self, parameters: Any, items: Items) -> Checked:
        """Validate a chunk's items. Pure; raises nothing for bad items, but rejects them."""

    def apply(self, participant: Any, chunk: ChunkContext, checked: Checked, *, careful: bool) -> Applied:
        """Take effect on all of `checked`.

        The fast way first; where the participant refuses it, `ParticipantRefusedError` is raised and the engine comes
        again with `careful`, in a new transaction: then what can be applied is, and the rest is told item by item.
        """

    def compensate(
        self, participant: Any, chunk: ChunkContext, outcomes: Sequence[Outcome], undo: Sequence[UndoRecord]
    ) -> Compensated:
        """Undo exactly what `apply` did. `outcomes` are the chunk's exceptions: those items had no effect."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015)."""

    base_seconds: float = 0.2
    cap_seconds: float = 30.0
    attempts: int = 5

    def delay_seconds(self, attempt: int, chance: float) -> float:
        """How long to wait after the `attempt`-th failure (from 1); `chance` is uniform in [0, 1)."""
        return chance * min(self.cap_seconds, self.base_seconds * 2.0 ** (attempt - 1))


@dataclass(frozen=True, slots=True)
class BulkStep:
    """A step over all items, chunk by chunk."""

    name: str
    action: Action
    chunk_items: int = 2000
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if not 1 <= self.chunk_items <= MAX_CHUNK_ITEMS:
            raise ValueError(f"step {self.name}: chunk_items must be from 1 to {MAX_CHUNK_ITEMS}")


@dataclass(frozen=True, slots=True)
class Definition:
    """The code of a kind. `columns` must be in the input's header; `messages` has a sentence for every code it uses."""

    kind: str
    version: int
    summary: str
    parameters: type[BaseModel]
    columns: tuple[str, ...]
    steps: tuple[BulkStep, ...]
    messages: Mapping[str, str] = field(default_factory=dict)

    def step(self, name: str) -> BulkStep:
        """The step called `name`; `KeyError` where there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


class Definitions:
    """All definitions a process knows, by kind and version."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self._known = {(d.kind, d.version): d for d in definitions}

    def kinds(self) -> list[str]:
        """The kinds, in alphabetical order."""
        return sorted({kind for kind, _ in self._known})

    def latest(self, kind: str) -> Definition:
        """The newest version of `kind`; `NotFoundError` names the kinds there are."""
        versions = [version for known, version in self._known if known == kind]
        if not versions:
            raise NotFoundError(f"there is no kind `{kind}`; the kinds here are: {', '.join(self.kinds())}")
        return self._known[kind, max(versions)]

    def get(self, kind: str, version: int) -> Definition | None:
        """That very version, where this process has it."""
        return self._known.get((kind, version))

    def known(self) -> list[tuple[str, int]]:
        """Kind and version of each."""
        return sorted(self._known)
