"""Operations recorded by earlier versions still fold to what they were then.

`histories/` holds whole streams, one event a line; they are added to, and never edited.
"""

import json
from pathlib import Path

import pytest

from haulage.domain.event import Event
from haulage.domain.events import EVENTS
from haulage.domain.items import Counts
from haulage.domain.operation import fold
from haulage.domain.status import Status

FOLDER = Path(__file__).parent / "histories"

ENDS = {
    "cancelled": (Status.CANCELLED, 6, Counts()),
    "closed_after_needing_attention": (Status.CLOSED, 8, Counts()),
    "failed": (Status.FAILED, 5, Counts()),
    "paused_and_completed_with_rejects": (Status.COMPLETED_WITH_REJECTS, 11, Counts(succeeded=8, rejected=2)),
    "rolled_back": (Status.ROLLED_BACK, 7, Counts()),
}
"""Status, version and counts at the end of each."""


def events(name: str) -> list[Event]:
    lines = map(json.loads, (FOLDER / f"{name}.ndjson").read_text().splitlines())
    return [EVENTS[line["topic"]].model_validate_json(json.dumps(line["data"])) for line in lines]


def test_every_recorded_history_has_a_known_end() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(ENDS)


@pytest.mark.parametrize("name", ENDS)
def test_a_recorded_history_folds_to_what_it_was(name: str) -> None:
    operation = fold(events(name))

    assert (operation.status, operation.version, operation.counts) == ENDS[name]
