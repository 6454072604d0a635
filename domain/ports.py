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
    """What was asked for when an operation was started; the part of it that can be redacted.

    `salt` goes into the digest that the log has of `parameters` and `input`.
    """

    operation: UUID
    tenant: str
    kind: str
    definition_version: int
    actor: str
    parameters: dict[str, Any]
    input: dict[str, Any] | None
    key: str | None
    salt: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was answered to a command; a repeat of the command gets the same again."""

    command_id: UUID
    operation: UUID
    verb: str
    reply: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SavedDispatch:
    """The process manager's memory of one operation, as JSON; `due` where it must be looked at without a new event."""

    operation: UUID
    state: dict[str, Any]
    due: bool


@dataclass(frozen=True, slots=True)
class AppliedChunk:
    """A chunk that was applied, and where in the log that is recorded."""

    first: int
    last: int
    position: int


class Unit(Protocol):
    """One transaction: everything done through it is committed together, or not at all.

    Each method is one statement, however many things it is given; without any it does nothing.
    """

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

    def set_held(self, operations: Sequence[UUID], held: bool) -> None:
        """Keep the operations' unclaimed work from being claimed, or no longer."""

    def withdraw(self, operations: Sequence[UUID]) -> None:
        """Remove the operations' unclaimed work."""

    def keep_undo(self, operation: UUID, step: str, chunk: Run, records: Sequence[UndoRecord]) -> str | None:
        """Store a chunk's undo records; their digest, or None without records."""

    def load_undo(self, operation: UUID, step: str, chunk: Run) -> Sequence[UndoRecord]:
        """A chunk's undo records; none where it kept none."""

    def advance(self, subscription: str, before: int, after: int) -> bool:
        """Move a checkpoint from `before` to `after`; False where it is not at `before`: somebody else moved it."""

    def save_dispatches(self, dispatches: Sequence[SavedDispatch]) -> None:
        """Insert or replace."""

    def drop_dispatches(self, operations: Sequence[UUID]) -> None:
        """Forget; what is not there is not missed."""

    def add_requests(self, requests: Sequence[Request]) -> None:
        """Insert. `ConflictError` where an operation, or a key within its tenant, is there already."""

    def add_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Insert. `ConflictError` where a command id is there already."""

    def participant(self, name: str) -> Any:
        """The adapter registered under `name`, bound to this transaction."""


class Store(Protocol):
    """The database as the engine sees it. Everything read outside a unit is committed and below the log's line."""

    def begin(self) -> AbstractContextManager[Unit]:
        """Open a transaction; it commits at the end of the block, and rolls back on an exception."""

    def request(self, operation: UUID) -> Request:
        """What was asked for; `NotFoundError` for an unknown operation."""

    def requests_by_key(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Request]:
        """Requests by (tenant, key), of those that exist."""

    def receipts(self, commands: Sequence[UUID]) -> dict[UUID, Receipt]:
        """What was answered, to those commands that are known."""

    def items(self, operation: UUID, first: int, last: int) -> Items:
        """Items of the manifest, from `first` to `last`."""

    def stream(self, stream: UUID) -> Sequence[Recorded]:
        """All events of one stream, oldest first."""

    def checkpoint(self, subscription: str) -> int:
        """The last position the subscription has completed; 0 before the first."""

    def events_after(self, position: int, limit: int) -> Sequence[Recorded]:
        """The next events in the order of the log: whole transactions, about `limit` events."""

    def dispatches(self, operations: Sequence[UUID]) -> dict[UUID, SavedDispatch]:
        """Those that exist."""

    def due_dispatches(self) -> Sequence[SavedDispatch]:
        """Those that are due."""

    def head(self) -> int:
        """The last position committed, whether it is below the log's line yet or not."""

    def applied_chunks(
        self, operation: UUID, step: str, before: int, limit: int, complete_to: int
    ) -> Sequence[AppliedChunk] | None:
        """Applied and not compensated chunks of a step, newest first, recorded before the position `before`.

        None while what is known of applied chunks does not take the log up to `complete_to` into account.
        """

    def in_flight(self, operations: Sequence[UUID]) -> dict[UUID, int]:
        """How many pieces of each operation's work are in flight: claimed, or not held, so that anyone may claim them.

        At 0, nothing of the operation can be claimed any more until somebody enqueues or releases work.
        """


class Waker(Protocol):
    """Wakes who waits for something to do; lost wake-ups only cost a poll."""

    def wake(self, what: str) -> None:
        """There is something new in `what`: `log` or `work`."""
