"""Upcasters: every old topic leads to one of today's, by one way, or the program does not start."""

from typing import ClassVar

import pytest

from haulage.domain.event import Event, topics
from haulage.domain.upcasting import Fields, Upcaster, chains


class Moved(Event):
    topic: ClassVar[str] = "moved.v3"

    metres: int


TODAY = topics([Moved])


def rename(fields: Fields) -> Fields:
    fields["feet"] = fields.pop("ft")
    return fields


def convert(fields: Fields) -> Fields:
    return {"metres": round(fields["feet"] * 0.3048)}


def test_upcasters_chain_to_the_topic_of_today() -> None:
    ways = chains([Upcaster("moved.v1", "moved.v2", rename), Upcaster("moved.v2", "moved.v3", convert)], TODAY)

    assert ways["moved.v1"].event is Moved
    assert ways["moved.v1"].upcast({"ft": 100}) == {"metres": 30}
    assert ways["moved.v2"].upcast({"feet": 100}) == {"metres": 30}
    assert set(ways) == {"moved.v1", "moved.v2"}


@pytest.mark.parametrize(
    ("upcasters", "complaint"),
    [
        ([Upcaster("moved.v1", "moved.v2", rename)], "lead to moved.v2, which no event has"),
        ([Upcaster("a", "b", rename), Upcaster("b", "a", rename)], "go round in a circle"),
        ([Upcaster("a", "a", rename)], "go round in a circle"),
        ([Upcaster("moved.v2", "moved.v3", convert)] * 2, "moved.v2 has two upcasters"),
        ([Upcaster("moved.v3", "moved.v4", rename)], "moved.v3 has an upcaster, but is the topic of Moved"),
    ],
)
def test_upcasters_that_lead_nowhere_or_twice_are_refused(upcasters: list[Upcaster], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        chains(upcasters, TODAY)
