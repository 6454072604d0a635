"""Who is at work in the simulation: processes that can crash and be started again, each around a real component."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from memory import InMemoryDatabase, InMemorySession, InMemoryStore, InMemoryWaker, reap, work
from memory.store import LEDGER, Participants

from haulage.domain.errors import FencedError
from haulage.domain.work import Claim, Task
from haulage.sagas.definition import Definitions
from haulage.sagas.dispatcher import Dispatcher
from haulage.sagas.executor import Executor
from haulage.sagas.intake import Intake
from simulation.definition import Sizes
from simulation.faults import CrashError, FaultyStore
from simulation.mail import Mailbox
from simulation.planner import Planner
from simulation.puppet import Puppet

LEASE_SECONDS = 10.0
CLAIM_LIMIT = 2


class Parts:
    """What processes are made of. A planted bug is a subclass that puts in a part with a mistake."""

    store: type[InMemoryStore] = InMemoryStore
    executor: type[Executor] = Executor
    acknowledges_after_commit = True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an actor finds around it."""

    database: InMemoryDatabase
    definitions: Definitions
    participants: Participants
    mailbox: Mailbox
    random: Random
    parts: type[Parts]
    sizes: Sizes


class Actor:
    """A process with one component. `start` makes everything anew, as after a crash."""

    ROLE = ""

    def __init__(self, number: int, around: Surroundings, tell: Callable[["Actor", str], None]) -> None:
        self.around = around
        self._name = f"{self.ROLE}-{number}"
        self._starts = 0
        self._tell = tell
        self._puppet: Puppet | None = None
        self.start()

    def start(self) -> None:
        """A new process, with a name nobody had before; the old one is gone wherever it was."""
        self.stop()
        self._starts += 1
        self.process = f"{self._name}#{self._starts}"
        self.around.database.connected.add(self.process)
        store = self.around.parts.store(self.around.database, self.process, self.around.participants)
        self.store: Any = FaultyStore(store, self.point)
        self.prepare()

    def prepare(self) -> None:
        """Make the component."""

    def run_once(self) -> int:
        """Do what there is to do now; how much that was."""
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Whether it stands still in the middle of its turn."""
        return self._puppet is not None

    def go_on(self) -> int:
        """Take a turn, or go on with one; 1 where it freezes before the end."""
        self._running = self._puppet or Puppet.take(self.run_once)
        self._puppet = None
        done = self._running.go_on()
        if done is None:
            self._puppet = self._running
            return 1
        return done

    def freeze(self) -> None:
        """Called in the middle of a turn: stand still until somebody lets it go on."""
        self._running.stand_still()

    def stop(self) -> None:
        """End what stands still."""
        puppet, self._puppet = self._puppet, None
        if puppet:
            puppet.kill(CrashError(self.process))

    def point(self, what: str) -> None:
        """Something may go wrong here."""
        self._tell(self, what)


class IntakeActor(Actor):
    """Takes deliveries from the mailbox. Each is acknowledged after the commit, and delivered again until then."""

    ROLE = "intake"

    def prepare(self) -> None:
        around = self.around
        self._intake = Intake(
            self.store,
            around.definitions,
            InMemoryWaker(),
            new_salt=lambda: b"salt",
            check_input=lambda _: None,
        )

    def run_once(self) -> int:
        mailbox = self.around.mailbox
        deliveries = mailbox.take(self.around.random)
        if not self.around.parts.acknowledges_after_commit:
            mailbox.acknowledge(deliveries)
        answers = self._intake.handle([delivery.submitted for delivery in deliveries]) if deliveries else []
        mailbox.answered(deliveries, answers)
        mailbox.acknowledge([d for d, answer in zip(deliveries, answers, strict=True) if answer.code != "busy"])
        return len(deliveries)


class DispatcherActor(Actor):
    """Runs the process manager."""

    ROLE = "dispatcher"

    def prepare(self) -> None:
        around = self.around
        self._dispatcher = Dispatcher(self.store, InMemoryWaker(), window=around.sizes.window, group=around.sizes.group)

    def run_once(self) -> int:
        return self._dispatcher.run_once()


class LedgerActor(Actor):
    """Follows the log, as the ledger's projector does, and notes every event it has seen."""

    ROLE = "ledger"

    def run_once(self) -> int:
        before = self.store.checkpoint(LEDGER)
        events = self.store.events_after(before, self.around.sizes.group)
        if not events:
            return 0
        with self.store.begin() as unit:
            if not unit.advance(LEDGER, before, events[-1].position):
                return 0
            unit.participant("ledger").take_in([event.position for event in events])
        return len(events)


class WorkerActor(Actor):
    """A worker as in `infra/worker.py`, with its session: claims, and carries out one piece after the other."""

    ROLE = "worker"

    def prepare(self) -> None:
        around = self.around
        clock = around.database.clock
        executor = around.parts.executor(self.store, around.definitions, now=clock.now, chance=around.random.random)
        self._session = InMemorySession(around.database, self.process, lease_seconds=LEASE_SECONDS)
        self._handlers: dict[Task, Callable[[Claim], None]] = {
            Task.PLAN: Planner(self.store, around.definitions, executor).plan,
            Task.APPLY: executor.apply,
            Task.COMPENSATE: executor.compensate,
        }
        self._claims: deque[Claim] = deque()

    def run_once(self) -> int:
        self._session.keep()
        reap(self.around.database)
        if not self._claims:
            self._claim()
        done = 0
        while self._claims:
            self._carry_out(self._claims[0])
            self._claims.popleft()
            done += 1
        return done

    def _claim(self) -> None:
        self.point("before claim")
        known = {f"{kind}/{version}" for kind, version in self.around.definitions.known()}
        self._claims.extend(work.claim(self.around.database, self._session.id, known, CLAIM_LIMIT))
        self.point("after claim")

    def _carry_out(self, claim: Claim) -> None:
        try:
            self._handlers[claim.work.task](claim)
        except FencedError:
            self.point("fenced")
