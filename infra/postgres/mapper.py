"""Events to bytes and back.

The stored `state` is JSON: `{"id", "operation", "tenant", "kind", "actor", "data": {the event's fields}}`; stream,
version, topic, position and time are columns. pydantic-core reads envelope and event in one pass over the bytes. The
library's own mapper looks classes up by their path and fills bare objects; ours knows only the topics it was given.

What cannot be read is an error that names the event and never its content. A follower stops there, visibly: skipping
would make its view wrong for good.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import pydantic_core
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, Notification, StoredEvent, Transcoder
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from haulage.domain.errors import HaulageError
from haulage.domain.event import Context, Event, NewEvents, Recorded
from haulage.domain.upcasting import Chain, Fields, Upcaster, chains


class UndecodableEventError(HaulageError):
    """A stored event that this version cannot read."""

    code = "undecodable_event"

    def __init__(self, stream: object, version: int, position: int | None, topic: str, reason: str) -> None:
        self.stream, self.version, self.position, self.topic, self.reason = stream, version, position, topic, reason
        at = "" if position is None else f", position {position}"
        super().__init__(
            f"Version {version} of stream {stream} (topic {topic}{at}) cannot be read: {reason}. Either a newer "
            "version of Haulage wrote it (install that one) or the log was damaged (restore it from a backup)."
        )


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event at its place in a stream, before the log has given it a position. The names are the library's."""

    originator_id: UUID
    originator_version: int
    id: UUID
    context: Context
    event: Event


class PydanticTranscoder(Transcoder):
    """JSON, by pydantic-core."""

    def encode(self, obj: Any) -> bytes:
        """Anything that pydantic can serialise."""
        return pydantic_core.to_json(obj)

    def decode(self, data: bytes) -> Any:
        """Plain JSON values. ValueError for bytes that are none."""
        return pydantic_core.from_json(data)


class EventMapper(Mapper[UUID]):
    """Maps the events of `topics`, and those of retired topics through `upcasters`."""

    def __init__(self, topics: Mapping[str, type[Event]], upcasters: Iterable[Upcaster] = ()) -> None:
        super().__init__(PydanticTranscoder())
        self._encoders = {event: _adapter(event).dump_json for event in topics.values()}
        self._decoders: dict[str, Callable[[bytes], Any]] = {
            topic: _adapter(event).validator.validate_json for topic, event in topics.items()
        }
        for topic, chain in chains(upcasters, topics).items():
            self._decoders[topic] = _upcasting_decoder(chain)

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that can be read, retired ones included."""
        return frozenset(self._decoders)

    def stream_events(self, new: NewEvents) -> list[StreamEvent]:
        """The new events at their places, each with an id that no other has."""
        return [
            StreamEvent(new.stream, version, uuid4(), new.context, event)
            for version, event in enumerate(new.events, new.after + 1)
        ]

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """What the recorder stores of a StreamEvent. ValueError for an event whose topic the mapper does not know."""
        assert isinstance(domain_event, StreamEvent)
        event, context = domain_event.event, domain_event.context
        encode = self._encoders.get(type(event))
        if encode is None:
            raise ValueError(f"{type(event).__name__} ({event.topic}) is not among the events that the log was given")
        state = encode(
            {
                "id": domain_event.id,
                "operation": str(context.operation),
                "tenant": context.tenant,
                "kind": context.kind,
                "actor": context.actor,
                "data": event,
            }
        )
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, event.topic, state)

    def to_domain_event(self, stored_event: StoredEvent) -> StreamEvent:
        """The StreamEvent that was stored. UndecodableEventError when it cannot be read."""
        position = stored_event.id if isinstance(stored_event, Notification) else None
        stream, version = UUID(str(stored_event.originator_id)), stored_event.originator_version
        read = self._read(stream, version, stored_event.topic, stored_event.state, position)
        return StreamEvent(stream, version, *read)

    def recorded(self, stream: UUID, version: int, topic: str, state: bytes, position: int, at: datetime) -> Recorded:
        """One row of the log. UndecodableEventError when it cannot be read."""
        return Recorded(stream, version, position, at, *self._read(stream, version, topic, state, position))

    def _read(
        self, stream: UUID, version: int, topic: str, state: bytes, position: int | None
    ) -> tuple[UUID, Context, Event]:
        """Id, context and event of a stored state."""
        try:
            envelope = self._decoders[topic](state)
            context = _context(envelope["operation"], envelope["tenant"], envelope["kind"], envelope["actor"])
            return envelope["id"], context, envelope["data"]
        except ValidationError as error:
            reason = _reason(error)
        except Exception as error:  # noqa: BLE001 - an upcaster may raise anything, with the content in its message
            known = topic in self._decoders
            reason = f"reading it raised {type(error).__name__}" if known else "its topic is unknown"
        # Outside the handlers: no chained exception may carry the content into a log file.
        raise UndecodableEventError(stream, version, position, topic, reason)


@lru_cache(4096)
def _context(operation: str, tenant: str, kind: str, actor: str) -> Context:
    # Few operations at a time and many events of each: they share one object.
    return Context(UUID(operation), tenant, kind, actor)


def _adapter(event: Any) -> TypeAdapter[Any]:
    """Reads and writes the state of one kind of event. A TypedDict: faster than any class."""

    class Envelope(TypedDict):
        id: UUID
        # Checked when the context is made from it, which is once for many events.
        operation: str
        tenant: str
        kind: str
        actor: str
        data: event

    return TypeAdapter(Envelope)


def _upcasting_decoder(chain: Chain) -> Callable[[bytes], Any]:
    read, validate = _adapter(Fields).validator.validate_json, TypeAdapter(chain.event).validator.validate_json

    def decode(state: bytes) -> Any:
        envelope = read(state)
        # Through JSON again, since that is what the event's own rules are written for.
        envelope["data"] = validate(pydantic_core.to_json(chain.upcast(envelope["data"])))
        return envelope

    return decode


def _reason(error: ValidationError) -> str:
    """Where and which rule; neither the value nor a message that could quote it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'its state'} breaks the rule {first['type']}"
