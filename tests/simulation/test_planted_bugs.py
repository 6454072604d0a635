"""A simulator that finds nothing may be blind. This one sees: each mistake put in on purpose is found."""

import pytest

from simulation.actors import Parts
from simulation.planted import PLANTED
from simulation.world import check

SEEDS = 300


@pytest.mark.parametrize("parts", PLANTED, ids=lambda parts: parts.__name__)
def test_a_planted_bug_is_found(parts: type[Parts]) -> None:
    story = next(filter(None, (check(seed, parts) for seed in range(SEEDS))), "no promise was broken")

    assert "\nbroken: " in story
