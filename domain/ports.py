"""Ports: what the engine needs from the outside. Adapters live in `infra`; in-memory ones, for tests, in `tests`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from haulage.domain.event import NewEvents, Recorded
from haulage.domain.items import Run
from haulage.domain.manifest import Items
from haulage.domain.undo import UndoRecord
from haulage.domain.work import Claim, Work


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for when an operation was started; the part of it that can be redacted."""

    operation: UUID
    tenant: str
    kind: str
    definition_version: int
    actor: str
    parameters: dict[str, Any]
    input: dict[str, Any] | None


class Unit(Protocol):
    """One transaction: everything done through it is committed together, or not at all."""

    def append(self, new: Sequence[NewEvents]) -> None:
        """Append events. `ConflictError` where a stream has moved on: the transaction can only be left then."""

    def finish(self, claim: Claim) -> None:
        """Remove a claimed piece of work: it is done. `FencedError` where the claim is no longer the caller's."""

    def hold(self, claim: Claim) -> None:
        """Keep the claim from being handed on until this transaction ends; `FencedError` as above."""

    def enqueue(self, work: Sequence[Work]) -> None:
        """Add work to be claimed; what is there already is left as it is."""

    def retry(self, claim: Claim, delay_seconds: float, attempt: int, chunk_version: int) -> None:
        """Give the claim back, to be claimed again after the delay. `FencedError` as above."""

    def keep_undo(self, operation: UUID, step: str, chunk: Run, records: Sequence[UndoRecord]) -> str | None:
        """Store a chunk's undo records; their digest, or None without records."""

    def load_undo(self, operation: UUID, step: str, chunk: Run) -> Sequence[UndoRecord]:
        """A chunk's undo records; none where it kept none."""

    def participant(self, name: str) -> Any:
        """The adapter registered under `name`, bound to this transaction."""


class Store(Protocol):
    """The database as the engine sees it."""

    def begin(self) -> AbstractContextManager[Unit]:
        """Open a transaction; it commits at the end of the block, and rolls back on an exception."""

    def request(self, operation: UUID) -> Request:
        """What was asked for; `NotFoundError` for an unknown operation."""

    def items(self, operation: UUID, first: int, last: int) -> Items:
        """Items of the manifest, from `first` to `last`."""

    def stream(self, stream: UUID) -> Sequence[Recorded]:
        """All events of one stream, oldest first."""


class Waker(Protocol):
    """Wakes who waits for something to do; lost wake-ups only cost a poll."""

    def wake(self, what: str) -> None:
        """There is something new in `what`: `log` or `work`."""
