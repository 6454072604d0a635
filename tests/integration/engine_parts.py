"""A small engine on real PostgreSQL: a participant that keeps labels, and everything stepped by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection
from pydantic import BaseModel

from haulage.domain.commands import Command, Input, StartOperation
from haulage.domain.errors import ParticipantRefusedError
from haulage.domain.events import EVENTS
from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.manifest import Items
from haulage.domain.operation import Operation, fold
from haulage.domain.undo import UndoRecord
from haulage.domain.work import Task
from haulage.infra.attendance import Attendance
from haulage.infra.planner import Planner
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.manifest import PostgresManifest
from haulage.infra.postgres.mapper import EventMapper
from haulage.infra.postgres.sessions import Session, unique_application_name
from haulage.infra.postgres.store import PostgresStore
from haulage.infra.postgres.work import definition_token
from haulage.infra.projector import Projector
from haulage.infra.worker import Worker
from haulage.sagas.definition import (
    Applied,
    Backoff,
    BulkStep,
    Checked,
    ChunkContext,
    Compensated,
    Definition,
    Definitions,
)
from haulage.sagas.dispatcher import Dispatcher
from haulage.sagas.executor import Executor
from haulage.sagas.intake import Answer, Intake, Submitted


class Shelf:
    """The participant: labels, each once."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def put(self, operation: UUID, labels: Sequence[tuple[int, str]]) -> list[int]:
        """Put labels on the shelf; the ordinals of those that were not there already."""
        rows = self.connection.execute(
            """insert into shelf select %s, * from unnest(%s::bigint[], %s::text[])
            on conflict (label) do nothing returning ordinal""",
            (operation, [o for o, _ in labels], [label for _, label in labels]),
        ).fetchall()
        return [row[0] for row in rows]


class NoParameters(BaseModel):
    """Takes none."""


class PutLabels:
    """The action: refuses a chunk with a duplicate the fast way, and rejects the duplicate when careful."""

    participant_name = "shelf"

    def verify(self, participant: Shelf, parameters: Any) -> None:
        participant.connection.execute("select from shelf limit 0")

    def check(self, parameters: Any, items: Items) -> Checked:
        ordinals, records, refused = items.records()
        bad = [
            Outcome(o, OutcomeKind.REJECTED, "empty", "label")
            for o, r in zip(ordinals, records, strict=True)
            if not r["label"]
        ]
        good = [(o, r["label"]) for o, r in zip(ordinals, records, strict=True) if r["label"]]
        return Checked([o for o, _ in good], good, [*refused, *bad])

    def apply(self, participant: Shelf, chunk: ChunkContext, checked: Checked, *, careful: bool) -> Applied:
        done = set(participant.put(chunk.operation, checked.values))
        left = [o for o in checked.ordinals if o not in done]
        if left and not careful:
            raise ParticipantRefusedError("a label is there already")
        return Applied([Outcome(o, OutcomeKind.REJECTED, "duplicate", "label") for o in left])

    def compensate(
        self, participant: Shelf, chunk: ChunkContext, outcomes: Sequence[Outcome], undo: Sequence[UndoRecord]
    ) -> Compensated:
        participant.connection.execute(
            "delete from shelf where operation = %s and ordinal between %s and %s",
            (chunk.operation, chunk.first, chunk.last),
        )
        return Compensated()


PUT_LABELS = Definition(
    kind="put-labels",
    version=1,
    summary="Puts labels on a shelf.",
    parameters=NoParameters,
    columns=("label",),
    steps=(BulkStep("put", PutLabels(), chunk_items=100, backoff=Backoff(base_seconds=0.0)),),
)


class NoWaker:
    """Nobody sleeps here."""

    def wake(self, what: str) -> None:
        """Do nothing."""


class Engine:
    """Everything that works on an operation, stepped by hand."""

    def __init__(self, url: str) -> None:
        self.name = unique_application_name("test")
        self.database = Database(url, size=4, application_name=self.name)
        self.log = PostgresLog(EventMapper(EVENTS))
        self.store = PostgresStore(self.database, self.log, PostgresManifest(), {"shelf": Shelf})
        definitions = Definitions([PUT_LABELS])
        waker = NoWaker()
        self.intake = Intake(self.store, definitions, waker, new_salt=lambda: b"salt", check_input=lambda _: None)
        self.executor = Executor(self.store, definitions, now=lambda: datetime.now(UTC), chance=lambda: 0.0)
        planner = Planner(
            self.store,
            definitions,
            self.executor,
            fetch=lambda name: (_ for _ in ()).throw(AssertionError(name)),
            folders=None,
            chance=lambda: 0.0,
            stopping=lambda: False,
        )
        self.dispatcher = Dispatcher(self.store, waker, window=4)
        self.projector = Projector(self.database, self.log)
        self.session = Session(
            url, role="worker", application_name=self.name, definitions=["put-labels/1"], lease_seconds=30
        )
        self.attendance = Attendance(self.session, self.database, waker, 30)
        self.worker = Worker(
            self.database,
            self.session,
            [definition_token("put-labels", 1)],
            {Task.PLAN: planner.plan, Task.APPLY: self.executor.apply, Task.COMPENSATE: self.executor.compensate},
            waker,
            lambda: False,
        )
        self.attendance.run_once()

    def start(self, path: Path, **fields: Any) -> Answer:
        """Give the command to import the labels of a file."""
        command = StartOperation(
            command_id=uuid4(), operation=uuid4(), kind="put-labels", input=Input(path=str(path)), **fields
        )
        return self.send("start", command)

    def send(self, verb: str, command: Command) -> Answer:
        """Hand one command to the intake."""
        return self.intake.handle([Submitted("default", "tester", verb, command)])[0]

    def step(self) -> int:
        """Let everyone do what there is to do now, once; how much that was."""
        return self.dispatcher.run_once() + self.worker.run_once() + self.projector.run_once()

    def settle(self, steps: int = 500) -> None:
        """Step until nothing is left to do."""
        idle = 0
        for _ in range(steps):
            idle = 0 if self.step() else idle + 1
            if idle == 3:
                return
        raise AssertionError(f"still busy after {steps} steps")

    def operation(self, operation: UUID) -> Operation:
        """Where an operation stands."""
        return fold(recorded.event for recorded in self.store.stream(operation))

    def close(self) -> None:
        """Leave as a clean stop does."""
        self.session.end()
        self.database.close()


def make_shelf(admin_url: str, app_url: str) -> None:
    """The participant's table."""
    role = psycopg.conninfo.conninfo_to_dict(app_url)["user"]
    with psycopg.connect(admin_url) as connection:
        connection.execute("create table shelf (operation uuid, ordinal bigint, label text primary key)")
        connection.execute(f"grant select, insert, delete on shelf to {role}")


@contextmanager
def an_engine(database_url: str, admin_url: str) -> Iterator[Engine]:
    """An engine with an empty shelf."""
    make_shelf(admin_url, database_url)
    engine = Engine(database_url)
    try:
        yield engine
    finally:
        engine.close()


def write_labels(path: Path, labels: Sequence[str]) -> Path:
    """An input file."""
    path.write_text("label\n" + "".join(f"{label}\n" for label in labels))
    return path
