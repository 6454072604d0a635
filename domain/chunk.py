"""The chunk: a range of items of one step, applied, recorded, retried and compensated together.

Each chunk is a short stream of its own (`identity.chunk_stream`); usually it is the single event `chunk.applied.v1`.
The names of the topics and of the fields are the storage format.
"""

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from haulage.domain.event import Event
from haulage.domain.items import Counts, OutcomeRuns, count


# -- events ------------------------------------------------------------------------------------------------------------
class ChunkEvent(Event):
    """What all events of a chunk say: which step, which items (`first` to `last`, both included)."""

    step: str
    first: int
    last: int


class ChunkApplied(ChunkEvent):
    """The chunk took effect, in the same transaction as this event. Items not in `exceptions` succeeded.

    `undo_digest` is the digest of the undo record beside the event, where there is one; `attempt` counts from 1.
    """

    topic: ClassVar[str] = "chunk.applied.v1"

    exceptions: tuple[OutcomeRuns, ...] = ()
    undo_digest: str | None = None
    attempt: int = 1

    @property
    def counts(self) -> Counts:
        """Items by outcome."""
        return count(self.first, self.last, self.exceptions)


class ChunkAttemptFailed(ChunkEvent):
    """An attempt had no effect. `error` is the class of the failure, never its data; the next is due at `due_at`."""

    topic: ClassVar[str] = "chunk.attempt_failed.v1"

    attempt: int
    error: str
    due_at: datetime


class ChunkSplit(ChunkEvent):
    """The chunk failed too often as a whole; its halves, `first..middle` and `middle + 1..last`, go on as chunks."""

    topic: ClassVar[str] = "chunk.split.v1"

    middle: int
    error: str


class ChunkCompensated(ChunkEvent):
    """What the chunk had done is undone, except for the items in `conflicting`, which had changed since."""

    topic: ClassVar[str] = "chunk.compensated.v1"

    conflicting: tuple[OutcomeRuns, ...] = ()
    attempt: int = 1


EVENTS: tuple[type[Event], ...] = (ChunkApplied, ChunkAttemptFailed, ChunkSplit, ChunkCompensated)


# -- state -------------------------------------------------------------------------------------------------------------
class Chunk(BaseModel):
    """A chunk as its stream tells it."""

    model_config = ConfigDict(frozen=True)

    version: int = 0
    attempts: int = 0
    applied: ChunkApplied | None = None
    split: bool = False
    compensated: bool = False


def evolve(chunk: Chunk, event: Event) -> Chunk:
    """The chunk after `event`."""
    change: dict[str, object] = {"version": chunk.version + 1}
    match event:
        case ChunkApplied():
            change |= {"applied": event, "attempts": 0}
        case ChunkAttemptFailed():
            change |= {"attempts": event.attempt}
        case ChunkSplit():
            change |= {"split": True}
        case ChunkCompensated():
            change |= {"compensated": True}
    return chunk.model_copy(update=change)


def fold(events: list[Event]) -> Chunk:
    """The chunk from its whole stream."""
    chunk = Chunk()
    for event in events:
        chunk = evolve(chunk, event)
    return chunk


# -- decide ------------------------------------------------------------------------------------------------------------
def decide_applied(chunk: Chunk, applied: ChunkApplied) -> tuple[Event, ...]:
    """Record an application. A chunk is applied once: deciding again yields nothing."""
    if chunk.applied or chunk.split:
        return ()
    return (applied,)


def decide_failed(chunk: Chunk, failed: ChunkAttemptFailed, attempts: int) -> tuple[Event, ...]:
    """Record a failed attempt; the `attempts`-th one splits a chunk of several items instead of trying it again."""
    if chunk.applied or chunk.split or failed.attempt <= chunk.attempts:
        return ()
    if failed.attempt < attempts or failed.first == failed.last:
        return (failed,)
    middle = (failed.first + failed.last) // 2
    split = ChunkSplit(step=failed.step, first=failed.first, last=failed.last, middle=middle, error=failed.error)
    return (failed, split)


def decide_compensated(chunk: Chunk, compensated: ChunkCompensated) -> tuple[Event, ...]:
    """Record a compensation, once, and only of what was applied."""
    if chunk.applied is None or chunk.compensated:
        return ()
    return (compensated,)
