"""Two thousand worlds, each with faults of its own: nothing is lost, nothing is done twice, everything ends."""

import pytest

from haulage.domain.events import EVENTS
from simulation.world import Simulation, check, tell

SEEDS = 2000
AT_A_TIME = 100


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_whatever_goes_wrong_the_promises_are_kept(first: int) -> None:
    for seed in range(first, first + AT_A_TIME):
        story = check(seed)
        assert story is None, story


def test_a_seed_is_the_same_world_every_time() -> None:
    assert tell(7) == tell(7)
    assert tell(7) != tell(8)


def test_the_worlds_are_wild_enough() -> None:
    """What these seeds do not reach they could not find fault with."""
    met: set[str] = set()
    events: set[str] = set()
    for seed in range(150):
        simulation = Simulation(seed)
        simulation.run()
        met |= simulation.met
        events |= {recorded.event.topic for recorded in simulation.database.log}

    assert events == set(EVENTS)
    assert met >= {
        "fenced",
        "append: ConflictError",
        "add_receipts: ConflictError",
        "finish: FencedError",
        "hold: FencedError",
        "advance: WouldWaitError",
        "add_all: ParticipantRefusedError",
        "check_open: RefusedError",
        "append: ConnectionEndedError",
    }
