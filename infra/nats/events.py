"""Events as they leave: one JSON document for the bus and for every answer that holds events, and its message."""

from dataclasses import dataclass
from typing import Any

import orjson

from haulage.domain.event import Recorded
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
    return _document(recorded, orjson.Fragment(recorded.event.model_dump_json()))


def message(recorded: Recorded, epoch: str) -> EventMessage:
    """The event for the bus. `epoch` is the history's; followers start over when it changes."""
    context, topic = recorded.context, recorded.event.topic
    headers = cloud_event(
        recorded.id, topic, f"{SOURCE}/{context.tenant}/{context.kind}", context.operation, recorded.at
    )
    headers |= {MESSAGE_ID: headers["ce-id"], POSITION: str(recorded.position), EPOCH: epoch}
    subject = subjects.event(context.tenant, context.kind, context.operation, topic)
    return EventMessage(subject, headers, orjson.dumps(document(recorded)))


def _document(recorded: Recorded, data: Any) -> dict[str, Any]:
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
        "data": data,
    }
