"""Mistakes put in on purpose, each of a kind that is easily made. The simulator must notice every one."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from memory import InMemoryStore, InMemoryUnit
from memory.work import ONCE, WORK, once

from haulage.domain.chunk import ChunkApplied
from haulage.domain.work import Claim
from haulage.sagas.executor import Executor
from simulation.actors import Parts


# -- no fence: a claim is trusted whoever has it now -------------------------------------------------------------------
class UnfencedUnit(InMemoryUnit):
    """Removes work by its id alone, and does not look whether it was there."""

    def finish(self, claim: Claim) -> None:
        row = self.transaction.read(WORK, claim.id)
        if row is not None:
            self.transaction.delete(WORK, claim.id)
            self.transaction.delete(ONCE, once(row.work))

    def hold(self, claim: Claim) -> None:
        return


class UnfencedStore(InMemoryStore):
    unit = UnfencedUnit


class NoFence(Parts):
    """Neither owner nor epoch is compared."""

    store = UnfencedStore


# -- forgotten before the commit ---------------------------------------------------------------------------------------
class ForgetfulExecutor(Executor):
    """Removes the work in a transaction of its own, before the one with the effect."""

    def _commit(self, claim: Claim, *args: Any, **kwargs: Any) -> ChunkApplied:
        with self._store.begin() as unit:
            unit.finish(claim)
        return self._without_finishing(claim, *args, **kwargs)

    def _without_finishing(
        self, claim: Claim, step: Any, chunk: Any, checked: Any, operation: Any, *, careful: bool
    ) -> ChunkApplied:
        with self._store.begin() as unit:
            applied = self.take_effect(unit, step, chunk, checked, careful=careful, attempt=claim.work.attempt)
            unit.append(self.record(claim.work, applied, operation))
        return applied


class ForgetsBeforeCommit(Parts):
    """Work is gone before it is done."""

    executor = ForgetfulExecutor


class AcknowledgesBeforeCommit(Parts):
    """A command is acknowledged when it is taken, not when it is stored."""

    acknowledges_after_commit = False


# -- followers that lose count -----------------------------------------------------------------------------------------
class HeedlessUnit(InMemoryUnit):
    """Moves a checkpoint wherever it is."""

    def advance(self, subscription: str, before: int, after: int) -> bool:
        self.transaction.write("checkpoints", subscription, after)
        return True


class HeedlessStore(InMemoryStore):
    unit = HeedlessUnit


class NoCompareAndSet(Parts):
    """Two dispatchers that read the same events both count them."""

    store = HeedlessStore


class HastyStore(InMemoryStore):
    """Reads the log up to its end, over the line."""

    def line(self) -> int:
        return 2**63


class SkipsTheHorizon(Parts):
    """A follower passes over what a slower transaction commits behind it."""

    store = HastyStore


# -- a rollback that begins at the wrong end ---------------------------------------------------------------------------
class OldestFirstStore(InMemoryStore):
    """Says what was applied in the order in which it was."""

    def applied_chunks(self, operation: UUID, step: str, before: int, limit: int, complete_to: int) -> Any:
        found = super().applied_chunks(operation, step, before, 1_000_000, complete_to)
        return found and list(reversed(found))[:limit]


class CompensatesOldestFirst(Parts):
    """What was done first is undone first."""

    store = OldestFirstStore


PLANTED: Sequence[type[Parts]] = (
    NoFence,
    ForgetsBeforeCommit,
    AcknowledgesBeforeCommit,
    NoCompareAndSet,
    SkipsTheHorizon,
    CompensatesOldestFirst,
)
