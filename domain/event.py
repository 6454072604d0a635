"""What every event has in common: its topic, and the envelope it is recorded in.

A domain event is a frozen pydantic model that says *what happened* and nothing else. Where it happened, by whom and
when is the envelope's business (`Recorded`), filled in by the log. The topic is a storage name: it is written into
the log and never changes, whatever becomes of the class.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """A fact about one aggregate. Subclasses set `topic`, such as `operation.started.v1`, and add fields.

    Fields hold ordinals, counts, codes and digests, never personal data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Context:
    """Whose operation an event belongs to and who caused it; the same for all events of one append."""

    operation: UUID
    tenant: str
    kind: str
    actor: str


@dataclass(frozen=True, slots=True)
class NewEvents:
    """Events to append to one stream, whose present last version is `after` (0: the stream is new)."""

    stream: UUID
    after: int
    events: tuple[Event, ...]
    context: Context


class Recorded(NamedTuple):
    """An event as the log holds it. A tuple, since they are made by the hundred thousand a second.

    `version` is its place in its stream (from 1), `position` its place in the whole log, `at` the database's clock
    when it was appended, `id` unique to this append (it tells a repeat of ours from somebody else's event).
    """

    stream: UUID
    version: int
    position: int
    at: datetime
    id: UUID
    context: Context
    event: Event


def topics(events: Iterable[type[Event]]) -> dict[str, type[Event]]:
    """The registry of `events` by topic; a topic used twice is a `ValueError`."""
    registry: dict[str, type[Event]] = {}
    for event in events:
        if event.topic in registry:
            raise ValueError(f"two events have the topic {event.topic}: {registry[event.topic]} and {event}")
        registry[event.topic] = event
    return registry
