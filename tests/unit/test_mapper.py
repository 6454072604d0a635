"""The mapper: stored bytes are plain JSON under explicit topics, and what cannot be read is named but never quoted."""

import json
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import Notification, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from haulage.domain import chunk, operation
from haulage.domain.event import Context, Event, NewEvents, topics
from haulage.domain.items import OutcomeKind, OutcomeRuns
from haulage.domain.upcasting import Fields, Upcaster
from haulage.infra.postgres.mapper import EventMapper, StreamEvent, UndecodableEventError

SECRET = "alice@example.com"
STREAM = UUID(int=1)
CONTEXT = Context(UUID(int=2), "acme", "import-users", "alice")
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Renamed(Event):
    topic: ClassVar[str] = "test.renamed.v3"

    name: str
    when: datetime


def from_v1(fields: Fields) -> Fields:
    return {"name": fields["title"], "at": fields["at"]}


def from_v2(fields: Fields) -> Fields:
    return {"name": fields["name"], "when": fields["at"]}


MAPPER = EventMapper(
    topics([*operation.EVENTS, *chunk.EVENTS, Renamed]),
    [Upcaster("test.renamed.v1", "test.renamed.v2", from_v1), Upcaster("test.renamed.v2", "test.renamed.v3", from_v2)],
)

APPLIED = chunk.ChunkApplied(
    step="import",
    first=1,
    last=1000,
    exceptions=(OutcomeRuns(kind=OutcomeKind.REJECTED, code="duplicate", field="email", runs=((3, 3), (77, 80))),),
)


def state(data: Any, **envelope: Any) -> bytes:
    """A stored state as JSON, with parts of its envelope replaced."""
    whole = {"id": str(uuid4()), "operation": str(uuid4()), "tenant": "t", "kind": "k", "actor": "a", "data": data}
    return json.dumps(whole | envelope).encode()


def read(topic: str, state: bytes) -> Event:
    return MAPPER.recorded(STREAM, 3, topic, state, 77, AT).event


def test_an_event_is_stored_as_json_with_its_envelope_and_nothing_else() -> None:
    (event,) = MAPPER.stream_events(NewEvents(STREAM, 4, (APPLIED,), CONTEXT))

    stored = MAPPER.to_stored_event(event)

    assert (stored.originator_id, stored.originator_version, stored.topic) == (STREAM, 5, "chunk.applied.v1")
    assert json.loads(stored.state) == {
        "id": str(event.id),
        "operation": str(CONTEXT.operation),
        "tenant": "acme",
        "kind": "import-users",
        "actor": "alice",
        "data": {
            "step": "import",
            "first": 1,
            "last": 1000,
            "exceptions": [{"kind": "rejected", "code": "duplicate", "field": "email", "runs": [[3, 3], [77, 80]]}],
            "undo_digest": None,
            "attempt": 1,
        },
    }


def test_events_get_the_versions_that_follow_and_ids_of_their_own() -> None:
    events = MAPPER.stream_events(NewEvents(STREAM, 4, (APPLIED, APPLIED, APPLIED), CONTEXT))

    assert [event.originator_version for event in events] == [5, 6, 7]
    assert len({event.id for event in events}) == 3


def test_what_was_stored_is_read_back_equal() -> None:
    (event,) = MAPPER.stream_events(NewEvents(STREAM, 0, (APPLIED,), CONTEXT))
    stored = MAPPER.to_stored_event(event)

    assert MAPPER.to_domain_event(stored) == event
    recorded = MAPPER.recorded(STREAM, 1, stored.topic, stored.state, 77, AT)
    assert (recorded.event, recorded.context, recorded.id) == (APPLIED, CONTEXT, event.id)
    assert (recorded.stream, recorded.version, recorded.position, recorded.at) == (STREAM, 1, 77, AT)


def test_events_of_one_operation_share_their_context() -> None:
    states = [MAPPER.to_stored_event(StreamEvent(STREAM, n, uuid4(), CONTEXT, APPLIED)).state for n in (1, 2)]

    first, second = (MAPPER.recorded(STREAM, 1, APPLIED.topic, state, 77, AT).context for state in states)

    assert first is second


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        ("test.renamed.v1", {"title": "x", "at": "2026-01-01T00:00:00Z"}),
        ("test.renamed.v2", {"name": "x", "at": "2026-01-01T00:00:00Z"}),
        ("test.renamed.v3", {"name": "x", "when": "2026-01-01T00:00:00Z"}),
    ],
)
def test_an_old_event_is_read_as_if_it_had_been_written_today(topic: str, data: Fields) -> None:
    assert read(topic, state(data)) == Renamed(name="x", when=AT)


def test_only_events_of_today_are_written() -> None:
    class Old(Event):
        topic: ClassVar[str] = "test.renamed.v1"

    with pytest.raises(ValueError, match="Old"):
        MAPPER.to_stored_event(StreamEvent(STREAM, 1, uuid4(), CONTEXT, Old()))


def test_an_envelope_may_hold_more_than_this_version_knows() -> None:
    data = {"step": "s", "first": 1, "last": 2}

    assert read("chunk.applied.v1", state(data, trace="00-ab")) == chunk.ChunkApplied(step="s", first=1, last=2)


UNREADABLE = {
    "unknown topic": ("test.unheard_of.v1", state({"name": SECRET})),
    "no JSON": ("chunk.applied.v1", SECRET.encode()),
    "cut off": ("chunk.applied.v1", state({"step": SECRET, "first": 1, "last": 2})[:-3]),
    "no UTF-8": ("chunk.applied.v1", state({"step": SECRET, "first": 1, "last": 2}).replace(b"alice", b"\xff")),
    "empty": ("chunk.applied.v1", b""),
    "unknown field": ("chunk.applied.v1", state({"step": "s", "first": 1, "last": 2, "email": SECRET})),
    "missing field": ("chunk.applied.v1", state({"step": SECRET, "first": 1})),
    "wrong type": ("chunk.applied.v1", state({"step": "s", "first": SECRET, "last": 2})),
    "no id": ("chunk.applied.v1", state({"step": "s", "first": 1, "last": 2}, id=SECRET)),
    "no operation": ("chunk.applied.v1", state({"step": "s", "first": 1, "last": 2}, operation=SECRET)),
    "upcaster misses a field": ("test.renamed.v1", state({"at": SECRET})),
    "upcast is wrong": ("test.renamed.v2", state({"name": "x", "at": SECRET})),
}


@pytest.mark.parametrize(("topic", "stored"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("how", ["row of the log", "stored event"])
def test_what_cannot_be_read_is_named_and_never_quoted(topic: str, stored: bytes, how: str) -> None:
    reading: Callable[[], object] = (
        (lambda: MAPPER.recorded(STREAM, 3, topic, stored, 77, AT))
        if how == "row of the log"
        else (lambda: MAPPER.to_domain_event(Notification(STREAM, 3, topic, stored, 77)))
    )

    with pytest.raises(UndecodableEventError) as raised:
        reading()

    error = raised.value
    assert (error.stream, error.version, error.position, error.topic) == (STREAM, 3, 77, topic)
    for part in (str(STREAM), "Version 3", topic, "position 77"):
        assert part in str(error)
    assert error.__cause__ is error.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(error))


def test_a_stored_event_without_a_position_is_named_without_one() -> None:
    with pytest.raises(UndecodableEventError) as raised:
        MAPPER.to_domain_event(StoredEvent(STREAM, 3, "test.unheard_of.v1", b"{}"))

    assert raised.value.position is None
    assert "position" not in str(raised.value)


@given(st.data())
def test_no_damage_to_the_bytes_gets_past_as_anything_but_an_event_or_the_named_error(data: st.DataObject) -> None:
    stored = bytearray(MAPPER.to_stored_event(StreamEvent(STREAM, 1, UUID(int=5), CONTEXT, APPLIED)).state)
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))

    try:
        event = read("chunk.applied.v1", bytes(stored))
    except UndecodableEventError:
        return
    assert isinstance(event, chunk.ChunkApplied)


def test_every_topic_of_the_language_can_be_read_and_retired_ones_too() -> None:
    written = {event.topic for event in (*operation.EVENTS, *chunk.EVENTS)}

    assert MAPPER.topics == written | {"test.renamed.v1", "test.renamed.v2", "test.renamed.v3"}
