"""What people do in the simulation: ask for operations, change their minds, and change names behind Haulage's back."""

from collections.abc import Sequence
from random import Random
from uuid import UUID

from memory import InMemoryDatabase
from memory.directory import CHANGED, CLOSED

from haulage.domain import commands as c
from haulage.domain.status import Status
from haulage.sagas.intake import Submitted
from simulation.history import History
from simulation.mail import Mailbox
from simulation.planner import UNUSABLE

NAMES = 25
"""So few different names that some are taken."""


class People:
    """Their commands go into the mailbox."""

    def __init__(self, random: Random, database: InMemoryDatabase, mailbox: Mailbox) -> None:
        self._random = random
        self._database = database
        self._mailbox = mailbox
        self._operations: list[UUID] = []

    def start(self, *, kind: str | None = None, names: Sequence[str] | None = None, organization: str = "acme") -> UUID:
        """Somebody asks for an operation, as told or of any kind with any names."""
        operation = UUID(int=self._database.next_of("operation"))
        self._operations.append(operation)
        self._database.tables["manifest"][operation] = self._any_names() if names is None else list(names)
        command = c.StartOperation(
            command_id=self._command_id(),
            operation=operation,
            kind=kind or self._random.choice(["register", "register", "register-twice"]),
            parameters={"organization": organization},
        )
        self._send("start", command)
        return operation

    def start_anything(self) -> None:
        """Somebody asks for an operation, perhaps in an organization that will close."""
        self.start(organization=self._random.choice(["acme", "acme", "acme", "closing"]))

    def steer(self, operation: UUID, verb: str) -> None:
        """Somebody asks an operation for something."""
        command = c.VERBS[verb](command_id=self._command_id(), operation=operation, reason="because")  # type: ignore[call-arg]
        self._send(verb, command)

    def do_anything(self) -> None:
        """Somebody does something nobody expected."""
        verb = self._random.choice(["pause", "resume", "resume", "cancel", "roll-back", "close", "change", "leave"])
        if verb == "change":
            self._database.tables[CHANGED][f"name-{self._random.randrange(NAMES)}"] = True
        elif verb == "leave":
            self._database.tables[CLOSED]["closing"] = True
        else:
            self.steer(self._random.choice(self._operations), verb)

    def attend(self, history: History) -> None:
        """Whatever waits for a person gets one."""
        for operation, known in history.operations.items():
            if known.operation.status is Status.PAUSED:
                self.steer(operation, "resume")
            elif known.operation.status is Status.NEEDS_ATTENTION:
                self.steer(operation, "close")

    def _any_names(self) -> list[str]:
        if self._random.random() < 0.05:
            return [UNUSABLE]
        pool = [f"name-{n}" for n in range(NAMES)] + ["", "poison"]
        return self._random.choices(pool, k=self._random.choice([0, 1, 2, 3, 5, 8]))

    def _send(self, verb: str, command: c.Command) -> None:
        self._mailbox.post(Submitted("acme", "ada", verb, command))

    def _command_id(self) -> UUID:
        return UUID(int=self._database.next_of("command") << 64)
