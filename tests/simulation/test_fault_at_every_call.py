"""One fault at a time, at every single port call of a whole operation, before it and after it.

Crash: the process dies. Lost connection: the call fails, or its answer is lost. Freeze: the process stands still until
the others have finished everything without it, and then goes on as if nothing had happened.
"""

from collections.abc import Callable

import pytest
from memory.database import Transaction

from haulage.domain.chunk import ChunkApplied
from haulage.domain.errors import NotReachableError
from haulage.domain.status import Status
from simulation.actors import Actor
from simulation.definition import Sizes
from simulation.faults import CrashError
from simulation.history import require
from simulation.world import NO_FAULTS, Simulation

Fault = Callable[[Actor], None]

NAMES = ["ann", "poison", "", "ann"]
SIZES = Sizes(chunk_items=2, attempts=1, window=2, group=50)

S = Status
STORIES = {
    "nobody steps in": (None, S.COMPLETED_WITH_REJECTS),
    "paused": ("pause", S.COMPLETED_WITH_REJECTS),
    "cancelled": ("cancel", S.CANCELLED),
    "rolled back": ("roll-back", S.ROLLED_BACK),
}
"""What a person asks for when the first chunk is applied, and how the operation ends then. A pause is resumed."""


def crash(actor: Actor) -> None:
    raise CrashError(actor.process)


def lost_connection(actor: Actor) -> None:
    raise NotReachableError("the connection broke")


def freeze(actor: Actor) -> None:
    actor.freeze()


def played(verb: str | None, fault: Fault | None = None, at: int = 0) -> tuple[Status, int]:
    """The story played to its end, with a fault at the `at`-th point; the end, and how many points there were."""
    simulation = Simulation(seed=1, faults=NO_FAULTS, sizes=SIZES)
    operation = simulation.people.start(kind="register", names=NAMES)

    def step_in(transaction: Transaction) -> None:
        if verb and any(isinstance(recorded.event, ChunkApplied) for recorded in transaction.appended):
            simulation.database.observers.remove(step_in)
            simulation.people.steer(operation, verb)

    def interfere(point: int, actor: Actor) -> None:
        if point == at and fault:
            fault(actor)

    simulation.database.observers.append(step_in)
    simulation.interfere = interfere
    try:
        simulation.finish()
    finally:
        simulation.stop()
    return simulation.history.operations[operation].operation.status, simulation.points


@pytest.mark.parametrize("story", STORIES)
def test_without_a_fault_each_story_has_its_end(story: str) -> None:
    verb, end = STORIES[story]

    assert played(verb)[0] is end


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("fault", [crash, lost_connection, freeze])
def test_one_fault_anywhere_changes_nothing_in_the_end(story: str, fault: Fault) -> None:
    verb, end = STORIES[story]
    _, points = played(verb)

    for at in range(1, points + 1):
        status, _ = played(verb, fault, at)
        # A fault may delay the person until there is nothing left to cancel.
        require(status in {end, S.COMPLETED_WITH_REJECTS}, f"with the fault at point {at}, it ends {status}")
