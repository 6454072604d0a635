"""Every event ever stored can be read for ever.

`events/` holds one sample a topic and version, as the log stores it: written when the event is born and never edited.
An event that changes its shape gets a new topic, a new sample, and an upcaster from the old one.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from haulage.domain.event import Event, Recorded
from haulage.domain.events import EVENTS
from haulage.infra.postgres.mapper import EventMapper, StreamEvent

SAMPLES = sorted((Path(__file__).parent / "events").glob("*.json"))

MAPPER = EventMapper(EVENTS)
STREAM, AT = UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)


def topic(sample: Path) -> str:
    """The topic a sample is of: its name."""
    return sample.stem


def decoded(sample: Path) -> Recorded:
    """The sample as a reader of the log gets it."""
    return MAPPER.recorded(STREAM, 1, topic(sample), sample.read_bytes(), 1 << 20, AT)


def test_every_topic_has_a_sample_retired_ones_too() -> None:
    assert {topic(sample) for sample in SAMPLES} == MAPPER.topics


@pytest.mark.parametrize("sample", SAMPLES, ids=topic)
def test_each_sample_still_decodes(sample: Path) -> None:
    recorded = decoded(sample)

    assert isinstance(recorded.event, Event)
    assert recorded.id == UUID("0198a000-0000-7000-8000-0000000000ee")
    assert recorded.context.operation == UUID("0198a000-0000-7000-8000-000000000001")
    assert (recorded.context.tenant, recorded.context.kind, recorded.context.actor) == ("acme", "import-users", "ada")


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if topic(sample) in EVENTS], ids=topic)
def test_each_sample_of_today_is_stored_today_as_it_was_then(sample: Path) -> None:
    recorded = decoded(sample)
    event = StreamEvent(STREAM, 1, recorded.id, recorded.context, recorded.event)

    assert json.loads(MAPPER.to_stored_event(event).state) == json.loads(sample.read_bytes())


@pytest.mark.parametrize("sample", SAMPLES, ids=topic)
def test_each_sample_shows_every_field_its_event_has(sample: Path) -> None:
    event = EVENTS.get(topic(sample))
    shown = json.loads(sample.read_bytes())["data"]

    # A retired topic has no class any more: its sample is all that is known of its fields.
    assert event is None or set(shown) == set(event.model_fields)
