"""The simulation: everything that happens follows from the seed.

Safety: some dozens of steps, in each of which an actor runs, a person does something, or time passes. At every port
call an actor may crash, lose its connection or the answer to its commit, or freeze while others go on, perhaps for so
long that its lease runs out. Each seed has its own mix of faults, so that some worlds are wild and others are plain.
The promises of `history.py` are checked at every commit.

Liveness: the faults stop. Whatever was asked for must then be finished within a bounded number of rounds, and add up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from random import Random

from memory import FakeClock, InMemoryDatabase, InMemoryDirectory
from memory.database import Transaction
from memory.directory import OWNERS

from haulage.domain.errors import HaulageError, NotReachableError
from haulage.domain.status import Status
from simulation.actors import (
    LEASE_SECONDS,
    Actor,
    DispatcherActor,
    IntakeActor,
    LedgerActor,
    Parts,
    Surroundings,
    WorkerActor,
)
from simulation.definition import Sizes, definitions
from simulation.faults import CrashError
from simulation.history import History, Violation, require
from simulation.mail import Mailbox
from simulation.people import People

STEPS = 150
ROUNDS = 300
THAW = 0.25
"""How likely a frozen actor goes on when it is its turn."""

PARTICIPANT_CALLS = frozenset({"before add_all", "before add_free", "before remove"})


RACES = frozenset({"before begin", "after claim"})
"""Between what was found and what is done because of it: where two are most likely to meet."""


class ParticipantError(Exception):
    """The participant failed, for no reason of the items'."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each fault is: at a port call the first three, at a call of the participant, at a step the others."""

    crash: float = 0.0
    lost_connection: float = 0.0
    freeze: float = 0.0
    participant: float = 0.0
    restart: float = 0.0
    redelivery: float = 0.0
    person: float = 0.0

    @classmethod
    def of(cls, random: Random) -> "Faults":
        """A mix in which each kind is absent, rare or frequent."""
        return cls(
            crash=random.choice([0, 0.003, 0.02]),
            lost_connection=random.choice([0, 0.003, 0.02]),
            freeze=random.choice([0, 0.005, 0.02]),
            participant=random.choice([0, 0.05, 0.3]),
            restart=random.choice([0, 0, 0.02]),
            redelivery=random.choice([0, 0.1]),
            person=random.choice([0, 0.05, 0.2]),
        )


NO_FAULTS = Faults()


class LedgerNotes:
    """Which events the ledger's follower has seen, kept in its own transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take_in(self, positions: list[int]) -> None:
        """Note them; none comes twice."""
        for position in positions:
            require(self._transaction.read("ledger_seen", position) is None, f"the ledger sees {position} twice")
            self._transaction.write("ledger_seen", position, True)


class Simulation:
    """One world, made from a seed. A broken promise is a `Violation`."""

    def __init__(
        self, seed: int, parts: type[Parts] = Parts, *, faults: Faults | None = None, sizes: Sizes | None = None
    ) -> None:
        random = self.random = Random(seed)
        self.faults = faults or Faults.of(random)
        sizes = sizes or Sizes.of(random)
        self.database = InMemoryDatabase(FakeClock())
        self.history = History()
        self.database.observers.append(self.history.observe)
        self.mailbox = Mailbox()
        self.people = People(random, self.database, self.mailbox)
        self.story: list[str] | None = None
        self.met: set[str] = set()
        self.points = 0
        self.interfere: Callable[[int, Actor], None] | None = None
        self._calm = False
        around = Surroundings(
            database=self.database,
            definitions=definitions(sizes.chunk_items, sizes.attempts),
            participants={"directory": InMemoryDirectory, "ledger": LedgerNotes},
            mailbox=self.mailbox,
            random=random,
            parts=parts,
            sizes=sizes,
        )
        kinds = [IntakeActor, DispatcherActor, LedgerActor, WorkerActor]
        self.actors = [kind(n, around, self.point) for kind in kinds for n in (1, 2)]

    def run(self) -> None:
        """Both modes."""
        for _ in range(self.random.randint(1, 3)):
            self.people.start_anything()
        try:
            for _ in range(STEPS):
                self._step()
            self.finish()
        finally:
            self.stop()

    def stop(self) -> None:
        """End whoever stands still."""
        for actor in self.actors:
            actor.stop()

    # -- safety --------------------------------------------------------------------------------------------------------
    def _step(self) -> None:
        random, faults = self.random, self.faults
        if random.random() < faults.person:
            self.people.do_anything()
        if random.random() < faults.redelivery:
            self.mailbox.redeliver(random)
        if random.random() < faults.restart:
            self._tell("the database restarts")
            self.database.restart()
        self.database.clock.advance(random.choice([0.0, 0.1, 1.0]))
        actor = random.choice(self.actors)
        if not actor.frozen or random.random() < THAW:
            self.turn(actor)
        elif random.random() < faults.crash:
            self._crash(actor)

    def turn(self, actor: Actor) -> int:
        """One turn of one actor, or the rest of it; a crash ends its process and starts another."""
        try:
            return actor.go_on()
        except CrashError:
            self._crash(actor)
        except HaulageError as error:
            # As in `infra/loops.py`: it is tried again.
            self._tell(f"{actor.process}: {type(error).__name__}: {error}")
        return 1

    def _crash(self, actor: Actor) -> None:
        self._tell(f"{actor.process} crashes")
        self.database.end_backends(actor.process)
        actor.start()

    def point(self, actor: Actor, what: str) -> None:
        """A port call of `actor`: what goes wrong there, if anything."""
        self.points += 1
        self.met.add(what)
        if self.story is not None:
            self._tell(f"{actor.process}: {what}")
        if self.interfere:
            self.interfere(self.points, actor)
        if self._calm:
            return
        faults, chance = self.faults, self.random.random()
        if chance < faults.crash:
            raise CrashError(actor.process)
        chance -= faults.crash
        if chance < faults.lost_connection:
            raise NotReachableError(f"the connection broke {what}")
        chance -= faults.lost_connection
        if chance < faults.freeze * (10 if what in RACES else 1):
            self._freeze(actor)
        if what in PARTICIPANT_CALLS and self.random.random() < faults.participant:
            raise ParticipantError("out of order")

    def _freeze(self, actor: Actor) -> None:
        self._tell(f"{actor.process} freezes")
        if self.random.random() < 0.3:
            self.database.clock.advance(LEASE_SECONDS + 1)
        actor.freeze()
        self._tell(f"{actor.process} goes on")

    def _tell(self, what: str) -> None:
        if self.story is not None:
            self.story.append(what)

    # -- liveness ------------------------------------------------------------------------------------------------------
    def finish(self) -> None:
        """No more faults: everything that was asked for ends, and everything adds up.

        Whoever is frozen goes on at once, or only when its twin has finished everything without it.
        """
        self._calm = True
        self._tell("the faults stop")
        late = [self.random.choice(twins) for twins in self._twins()]
        self._thaw(actor for actor in self.actors if actor not in late)
        self._rounds()
        self._thaw(late)
        self._rounds()
        self._check_end()

    def _twins(self) -> list[list[Actor]]:
        roles = {actor.ROLE for actor in self.actors}
        return [[actor for actor in self.actors if role == actor.ROLE] for role in sorted(roles)]

    def _thaw(self, actors: Iterable[Actor]) -> None:
        for actor in actors:
            if actor.frozen:
                self.turn(actor)

    def _rounds(self) -> None:
        for _ in range(ROUNDS):
            if sum([self.turn(actor) for actor in self.actors if not actor.frozen]) == 0:
                if self._settled():
                    return
                self.people.attend(self.history)
            self.database.clock.advance(0.5)
            self.database.end_idle_transactions()
        raise Violation(f"still not finished: {self._statuses()}")

    def _settled(self) -> bool:
        ended = all(history.operation.ended for history in self.history.operations.values())
        left = any(self.database.tables[table] for table in ("work", "dispatches"))
        return ended and not left and not self.mailbox.waiting()

    def _statuses(self) -> dict[int, str]:
        return {operation.int: history.operation.status.value for operation, history in self.history.operations.items()}

    def _check_end(self) -> None:
        unanswered = {d.submitted.command.command_id for d in self.mailbox.deliveries} - set(self.mailbox.answers)
        require(not unanswered, f"commands {unanswered} were never answered")
        seen = set(self.database.tables["ledger_seen"])
        require(seen == {recorded.position for recorded in self.database.log}, "the ledger has not seen every event")
        self._check_what_readers_see()
        for history in self.history.operations.values():
            operation = history.operation
            require(history.ends == 1, f"the operation has {history.ends} ends")
            if operation.status in {Status.COMPLETED, Status.COMPLETED_WITH_REJECTS}:
                every = set(range(1, operation.items + 1))
                require(all(history.steps[step].items == every for step in operation.steps), "items without an outcome")
                require(operation.items == 0 or operation.counts.done == operation.items, "the counters do not add up")
        there = set(self.database.tables[OWNERS].values())
        require(there == self.history.effects(), "the directory is not what the log tells")

    def _check_what_readers_see(self) -> None:
        """Positions are not in the order of commits; the promises must hold in both."""
        log = History()
        for recorded in self.database.log:
            log.read(recorded)


def check(seed: int, parts: type[Parts] = Parts) -> str | None:
    """None where all promises are kept with this seed; else the story of how one is broken."""
    try:
        Simulation(seed, parts).run()
    except Violation:
        return tell(seed, parts)
    return None


def tell(seed: int, parts: type[Parts] = Parts) -> str:
    """What happens with a seed, port call by port call, the log it leaves, and how it ends."""
    simulation = Simulation(seed, parts)
    story = simulation.story = []
    end = "no promise was broken"
    try:
        simulation.run()
    except Violation as violation:
        end = f"broken: {violation}"
    mix = {field.name: getattr(simulation.faults, field.name) for field in fields(Faults)}
    log = [
        f"{r.position >> 20}.{r.position & 0xFFFFF} operation {r.context.operation.int}, version {r.version}: "
        f"{r.event.topic} {r.event.model_dump_json(exclude_defaults=True)}"
        for r in simulation.database.log
    ]
    return "\n".join([f"seed {seed}: {mix}", *story, "", "the log:", *log, "", end])
