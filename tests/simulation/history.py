"""What must hold at each moment, whatever has gone wrong: checked after every commit, from what it made visible.

the operation   its statuses follow the table; nothing comes after its end; its counts are those of its chunks
an item         has at most one outcome in each step
a chunk         is applied or split once, compensated once and only if it was applied
an effect       is in the directory exactly when an applied, not compensated chunk says so
a pause, an end nothing is applied in a paused operation, after its end, or once compensation has begun
"""

from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from memory.database import Transaction
from memory.directory import OWNERS, Owner
from memory.sessions import SESSIONS
from memory.work import WORK

from haulage.domain.chunk import ChunkApplied, ChunkAttemptFailed, ChunkCompensated, ChunkEvent, ChunkSplit
from haulage.domain.event import Event, Recorded
from haulage.domain.items import Counts, Run, each
from haulage.domain.operation import Operation, OperationCompleted, StepCompensated, StepCompleted, evolve
from haulage.domain.status import ENDS, Status, may

MAY_APPLY = frozenset({Status.RUNNING, Status.PAUSING, Status.CANCELLING, Status.ROLLING_BACK, Status.FAILED})
"""Where a chunk in flight may still end. After a failure, too: nothing waits for it."""


class Violation(BaseException):
    """A promise was broken."""


def require(promise: bool, sentence: str) -> None:
    """`Violation` where the promise is not kept."""
    if not promise:
        raise Violation(sentence)


@dataclass(slots=True)
class StepHistory:
    """The chunks of one step, by first ordinal."""

    applied: dict[int, ChunkApplied] = field(default_factory=dict)
    compensated: set[int] = field(default_factory=set)
    split: set[Run] = field(default_factory=set)
    items: set[int] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)

    @property
    def is_undone(self) -> bool:
        """Whether every applied chunk is compensated."""
        return set(self.applied) == self.compensated


@dataclass(slots=True)
class OperationHistory:
    """One operation, from what was committed."""

    operation: Operation = field(default_factory=Operation)
    steps: dict[str, StepHistory] = field(default_factory=lambda: defaultdict(StepHistory))
    ends: int = 0

    @property
    def compensation_began(self) -> bool:
        """Whether anything is compensated."""
        return any(step.compensated for step in self.steps.values())


@dataclass(frozen=True, slots=True)
class Effect:
    """What an event says of the directory: whose names are there now, whose no longer."""

    added: set[Owner] = field(default_factory=set)
    removed: set[Owner] = field(default_factory=set)


NO_EFFECT = Effect()


class History:
    """Everything that was committed; `observe` is called with each transaction."""

    def __init__(self) -> None:
        self.operations: dict[UUID, OperationHistory] = defaultdict(OperationHistory)
        self._effects: set[Owner] = set()

    def effects(self) -> set[Owner]:
        """Whose names must be in the directory now."""
        return self._effects

    def observe(self, transaction: Transaction) -> None:
        """Check what a transaction made visible."""
        added: set[Owner] = set()
        removed: set[Owner] = set()
        for recorded in transaction.appended:
            effect = self.read(recorded)
            added |= effect.added
            removed |= effect.removed
        _check_effects(transaction, added, removed)
        _check_claims(transaction)
        self._effects = (self._effects - removed) | added

    def read(self, recorded: Recorded) -> "Effect":
        """Check one event more; the effect it tells of."""
        history = self.operations[recorded.context.operation]
        match recorded.event:
            case ChunkApplied() as event:
                return _applied(history, recorded.context.operation, event)
            case ChunkSplit() as event:
                return _split(history, event)
            case ChunkCompensated() as event:
                return _compensated(history, recorded.context.operation, event)
            case ChunkAttemptFailed():
                return NO_EFFECT
            case event:
                return _operation(history, event)


def _operation(history: OperationHistory, event: Event) -> Effect:
    before = history.operation
    after = history.operation = evolve(before, event)
    require(not before.ended, f"{event.topic} comes after the end, {before.status}")
    if before.exists and before.status is not after.status:
        require(may(before.status, after.status), f"the table has no way from {before.status} to {after.status}")
    history.ends += after.status in ENDS
    match event:
        case StepCompleted():
            step = history.steps[event.step]
            require(event.counts == step.counts, f"{event.step} is completed with {event.counts}, not {step.counts}")
            require(step.counts.done == after.items, f"{event.step} is completed with items left")
        case OperationCompleted() if after.steps:
            require(event.counts == before.counts, "the operation's counts are not those of its last step")
        case StepCompensated():
            require(history.steps[event.step].is_undone, f"{event.step}: not all chunks are compensated")
    return NO_EFFECT


def _applied(history: OperationHistory, operation: UUID, event: ChunkApplied) -> Effect:
    step, status, items = history.steps[event.step], history.operation.status, range(event.first, event.last + 1)
    chunk = _name(event)
    require(status in MAY_APPLY, f"{chunk} is applied although the operation is {status}")
    require(not history.compensation_began, f"{chunk} is applied although compensation has begun")
    require(step.items.isdisjoint(items), f"{chunk} gives some items a second outcome")
    require((event.first, event.last) not in step.split, f"{chunk} is applied although it was split")
    step.applied[event.first] = event
    step.items.update(items)
    step.counts = step.counts.plus(event.counts)
    require(step.counts.done <= history.operation.items, f"{event.step} has more outcomes than items")
    return Effect(added=_succeeded(operation, event))


def _split(history: OperationHistory, event: ChunkSplit) -> Effect:
    step = history.steps[event.step]
    require((event.first, event.last) not in step.split, f"{_name(event)} is split twice")
    require(step.items.isdisjoint(range(event.first, event.last + 1)), f"{_name(event)} is split though applied")
    step.split.add((event.first, event.last))
    return NO_EFFECT


def _compensated(history: OperationHistory, operation: UUID, event: ChunkCompensated) -> Effect:
    step, status, steps = history.steps[event.step], history.operation.status, history.operation.steps
    chunk, applied = _name(event), step.applied.get(event.first)
    later = [history.steps[name] for name in steps[steps.index(event.step) + 1 :]]
    require(status is Status.ROLLING_BACK, f"{chunk} is compensated although the operation is {status}")
    require(all(step.is_undone for step in later), f"{chunk} is compensated before a later step is")
    require(event.first not in step.compensated, f"{chunk} is compensated twice")
    if applied is None or applied.last != event.last:
        raise Violation(f"{chunk} is compensated although it was not applied")
    step.compensated.add(event.first)
    left = {outcome.ordinal for outcome in each(event.conflicting)}
    return Effect(removed={owner for owner in _succeeded(operation, applied) if owner.ordinal not in left})


def _check_effects(transaction: Transaction, added: set[Owner], removed: set[Owner]) -> None:
    changed = transaction.changes(OWNERS).values()
    now = {after for before, after in changed if after is not None and after != before}
    gone = sum(after is None for before, after in changed if before is not None)
    require(now == added, f"the directory has got {sorted(now)}, the events tell of {sorted(added)}")
    require(gone == len(removed), f"{gone} names have left the directory, the events tell of {sorted(removed)}")


def _check_claims(transaction: Transaction) -> None:
    """A claim ends in the hands of the process that holds it; what nobody holds, no worker does away with."""
    sessions = transaction.database.tables[SESSIONS]
    for before, after in transaction.changes(WORK).values():
        if before is not None and after is None and transaction.process.startswith("worker"):
            require(before.owner is not None, f"{transaction.process} does work that nobody holds")
            # A session that was just ended is not there any more, but what it has claimed since is its own.
            holder = sessions[before.owner].process if before.owner in sessions else transaction.process
            require(holder == transaction.process, f"{transaction.process} does the work that {holder} holds")


def _succeeded(operation: UUID, applied: ChunkApplied) -> set[Owner]:
    exceptions = {outcome.ordinal for outcome in each(applied.exceptions)}
    ordinals = set(range(applied.first, applied.last + 1)) - exceptions
    return {Owner(operation, applied.step, ordinal) for ordinal in ordinals}


def _name(event: ChunkEvent) -> str:
    return f"chunk {event.first}-{event.last} of {event.step}"
