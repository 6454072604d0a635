"""Events as they leave: one JSON document for the bus and for every answer that holds events, and its message."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from haulage.domain.event import Context, Recorded
from haulage.infra.nats import subjects
from haulage.infra.nats.messages import EPOCH, MESSAGE_ID, POSITION, SOURCE, cloud_event

TRUNCATED = "Haulage-Truncated"


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event on its way to the stream."""

    subject: str
    headers: dict[str, str]
    body: bytes

    def without_data(self) -> "EventMessage":
        """The same without the event's fields, for a server that does not take so much: a follower asks for them."""
        body = orjson.dumps(orjson.loads(self.body) | {"data": None})
        return EventMessage(self.subject, self.headers | {TRUNCATED: "1"}, body)


def document(recorded: Recorded) -> dict[str, Any]:
    """What `orjson.dumps` takes. The position is a decimal string, since it passes 2^53; `version` counts from 1."""
    context = recorded.context
    return {
        "topic": recorded.event.topic,
        "operation": context.operation,
        "tenant": context.tenant,
        "kind": context.kind,
        "actor": context.actor,
        "stream": recorded.stream,
        "version": recorded.version,
        "position": str(recorded.position),
        "at": recorded.at,
        "id": recorded.id,
        "data": orjson.Fragment(recorded.event.model_dump_json()),
    }


def message(recorded: Recorded, epoch: str) -> EventMessage:
    """The event for the bus. `epoch` is the history's; followers start over when it changes."""
    subject, fixed = _fixed(recorded.context, recorded.event.topic, epoch)
    event_id = str(recorded.id)
    headers = fixed | {
        "ce-id": event_id,
        "ce-time": recorded.at.isoformat(),
        MESSAGE_ID: event_id,
        POSITION: str(recorded.position),
    }
    return EventMessage(subject, headers, orjson.dumps(document(recorded)))


@lru_cache(4096)
def _fixed(context: Context, topic: str, epoch: str) -> tuple[str, dict[str, str]]:
    """Subject and headers that all events of an operation and a topic have in common."""
    source = f"{SOURCE}/{context.tenant}/{context.kind}"
    headers = cloud_event("", topic, source, context.operation) | {EPOCH: epoch}
    return subjects.event(context.tenant, context.kind, context.operation, topic), headers
