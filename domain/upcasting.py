"""Old events in today's shape: upcasters, one per topic that is no longer written.

An upcaster turns the fields of an event, as they were stored under an old topic, into those of the next: from
`operation.started.v1` to `operation.started.v2`. Upcasters chain, so each is written once, when its topic is
retired, and never touched again. Stored events are never rewritten; they are read as if they had been.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from haulage.domain.event import Event

Fields = dict[str, Any]
"""The fields of an event as JSON holds them: strings, numbers, lists, dicts, None."""


@dataclass(frozen=True, slots=True)
class Upcaster:
    """From the fields stored under `topic` to those of the topic `to`; `upcast` may change and return its argument."""

    topic: str
    to: str
    upcast: Callable[[Fields], Fields]


@dataclass(frozen=True, slots=True)
class Chain:
    """All upcasters from an old topic to `event`, which is written today."""

    event: type[Event]
    upcasters: tuple[Upcaster, ...]

    def upcast(self, fields: Fields) -> Fields:
        """The fields of today's event."""
        for upcaster in self.upcasters:
            fields = upcaster.upcast(fields)
        return fields


def chains(upcasters: Iterable[Upcaster], topics: Mapping[str, type[Event]]) -> dict[str, Chain]:
    """The way from each old topic to one of `topics`, those of today.

    ValueError: an upcaster of a topic of today, two of one topic, one that leads nowhere or round in a circle.
    """
    by_topic: dict[str, Upcaster] = {}
    for upcaster in upcasters:
        if upcaster.topic in topics:
            raise ValueError(f"{upcaster.topic} has an upcaster, but is the topic of {topics[upcaster.topic].__name__}")
        if upcaster.topic in by_topic:
            raise ValueError(f"{upcaster.topic} has two upcasters")
        by_topic[upcaster.topic] = upcaster
    return {topic: _chain(topic, by_topic, topics) for topic in by_topic}


def _chain(topic: str, by_topic: Mapping[str, Upcaster], topics: Mapping[str, type[Event]]) -> Chain:
    steps: list[Upcaster] = []
    at = topic
    while at not in topics:
        if at not in by_topic:
            raise ValueError(f"the upcasters of {topic} lead to {at}, which no event has as its topic")
        if by_topic[at] in steps:
            raise ValueError(f"the upcasters of {topic} go round in a circle")
        steps.append(by_topic[at])
        at = by_topic[at].to
    return Chain(topics[at], tuple(steps))
