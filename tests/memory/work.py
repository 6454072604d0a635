"""The work table in memory: claimed, held, given back. As `infra/postgres/work.py`, statement by statement."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from haulage.domain.errors import FencedError
from haulage.domain.work import Claim, Work
from memory.database import InMemoryDatabase, Transaction

WORK, ONCE = "work", "work_once"


@dataclass(frozen=True, slots=True)
class WorkRow:
    """A piece of work, and who has it."""

    work: Work
    due_at: datetime
    held: bool = False
    owner: UUID | None = None
    epoch: int = 0

    @property
    def in_flight(self) -> bool:
        """Whether somebody has claimed it, or may."""
        return self.owner is not None or not self.held


def enqueue(transaction: Transaction, work: Sequence[Work]) -> None:
    """Add work; what is there already is left as it is."""
    for piece in work:
        if transaction.database.is_locked((ONCE, once(piece))):
            transaction.lock(ONCE, once(piece))
        if transaction.read(ONCE, once(piece)) is None:
            number = transaction.database.next_of("work")
            transaction.write(ONCE, once(piece), number)
            transaction.write(WORK, number, WorkRow(piece, due_at=transaction.database.clock.now()))


def claim(database: InMemoryDatabase, session: UUID, definitions: Collection[str], limit: int) -> list[Claim]:
    """Claim due work, highest priority first, then oldest; what somebody is just writing is passed over."""
    rows = [
        (number, row)
        for number, row in database.tables[WORK].items()
        if row.owner is None
        and not row.held
        and row.due_at <= database.clock.now()
        and f"{row.work.kind}/{row.work.definition_version}" in definitions
        and not database.is_locked((WORK, number))
    ]
    rows.sort(key=lambda found: (-found[1].work.priority, found[0]))
    claims = []
    for number, row in rows[:limit]:
        mine = replace(row, owner=session, epoch=row.epoch + 1)
        database.commit_without_disk(WORK, number, mine)
        claims.append(Claim(id=number, epoch=mine.epoch, session=session, work=mine.work))
    return claims


def finish(transaction: Transaction, claim: Claim) -> None:
    """Remove the work, as its owner."""
    row = hold(transaction, claim)
    transaction.delete(WORK, claim.id)
    transaction.delete(ONCE, once(row.work))


def hold(transaction: Transaction, claim: Claim) -> WorkRow:
    """Keep the row until the transaction ends, as its owner."""
    row: WorkRow | None = transaction.read(WORK, claim.id)
    if row is None or (row.owner, row.epoch) != (claim.session, claim.epoch):
        raise FencedError(f"the claim {claim.id} (epoch {claim.epoch}) has gone to another session")
    transaction.lock(WORK, claim.id)
    return row


def retry(transaction: Transaction, claim: Claim, delay_seconds: float, attempt: int, chunk_version: int) -> None:
    """Give the work back as its owner, due after the delay."""
    row = hold(transaction, claim)
    work = replace(row.work, attempt=attempt, chunk_version=chunk_version)
    due_at = transaction.database.clock.in_seconds(delay_seconds)
    transaction.write(WORK, claim.id, replace(row, work=work, owner=None, due_at=due_at))


def set_held(transaction: Transaction, operations: Collection[UUID], held: bool) -> None:
    """Keep what is not claimed from being claimed, or no longer."""
    for number, row in list(transaction.rows(WORK)):
        if row.work.operation in operations and row.owner is None and row.held != held:
            transaction.write(WORK, number, replace(row, held=held))


def withdraw(transaction: Transaction, operations: Collection[UUID]) -> None:
    """Remove what is not claimed."""
    for number, row in list(transaction.rows(WORK)):
        if row.work.operation in operations and row.owner is None:
            transaction.delete(WORK, number)
            transaction.delete(ONCE, once(row.work))


def give_back(transaction: Transaction, session: UUID) -> int:
    """Give back all that a session has claimed; how many pieces that were."""
    claimed = [(number, row) for number, row in transaction.rows(WORK) if row.owner == session]
    for number, row in claimed:
        transaction.write(WORK, number, replace(row, owner=None))
    return len(claimed)


def in_flight(database: InMemoryDatabase, operations: Sequence[UUID]) -> dict[UUID, int]:
    """How many pieces of each operation's work are in flight."""
    counted = dict.fromkeys(operations, 0)
    for row in database.tables[WORK].values():
        if row.work.operation in counted:
            counted[row.work.operation] += row.in_flight
    return counted


def once(work: Work) -> tuple[UUID, str, str, int, int]:
    """What makes a piece of work the same piece of work."""
    return (work.operation, work.task.value, work.step, work.first, work.last)
