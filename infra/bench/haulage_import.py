"""The import as Haulage does it: real processes, the command on the bus, everything on."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from haulage.domain.commands import Input, StartOperation
from haulage.domain.errors import HaulageError
from haulage.domain.items import Counts
from haulage.domain.operation import fold
from haulage.domain.status import RESTS, Status
from haulage.infra.bench.memory import children
from haulage.infra.cli.running import Running, running
from haulage.infra.nats.command_client import CommandClient
from haulage.infra.nats.connection import Bus
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings

ORGANIZATION = "bench"
LOOK_SECONDS = 0.01


class BenchError(HaulageError):
    """A measured run did not do what it should have: its time means nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One import: how long from the command to its end, and what became of the items."""

    seconds: float
    status: Status
    counts: Counts


class System:
    """A running Haulage in a home of its own."""

    def __init__(self, running_: Running, bus: Bus, admin_url: str, servers: Servers) -> None:
        self._running = running_
        self._commands = CommandClient(bus)
        self._servers = servers
        self.admin_url = admin_url
        self.organization: UUID = self._organization()

    def import_users(self, path: Path) -> Outcome:
        """Import a file; the directory should be empty."""
        operation = uuid4()
        command = StartOperation(
            command_id=uuid4(),
            operation=operation,
            kind="import-users",
            parameters={"organization": ORGANIZATION},
            input=Input(path=str(path.absolute())),
        )
        began = time.perf_counter()
        reply = self._commands.request("default", "bench", command)
        if not reply.ok:
            raise BenchError(f"The import was refused: {reply.message}")
        store = self._running.parts.store
        while True:
            state = fold(recorded.event for recorded in store.stream(operation))
            if state.status in RESTS:
                return Outcome(time.perf_counter() - began, state.status, state.counts)
            time.sleep(LOOK_SECONDS)

    def empty_directory(self) -> None:
        """Remove all users, and begin with a checkpoint, so that no run pays for the one before."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute("truncate directory.users, directory.memberships")
            connection.execute("checkpoint")

    def processes(self) -> Iterator[tuple[str, int, bool]]:
        """Name, pid, and whether only private memory counts, of everything that is running."""
        yield "client", os.getpid(), False
        for name, pid in self._running.pids().items():
            yield name.split("-")[0], pid, False
        status = self._servers.status()
        if status.nats.pid:
            yield "nats", status.nats.pid, False
        if status.postgres.pid:
            for pid in (status.postgres.pid, *children(status.postgres.pid)):
                yield _kind_of_postgres(pid), pid, True

    def _organization(self) -> UUID:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(
                "insert into directory.organizations (id, slug, name) values (%s, %s, %s) on conflict do nothing",
                (uuid4(), ORGANIZATION, "Benchmark"),
            )
            row = connection.execute(
                "select id from directory.organizations where slug = %s", (ORGANIZATION,)
            ).fetchone()
            assert row
            return UUID(str(row[0]))


def _kind_of_postgres(pid: int) -> str:
    """Backends work for us; what else there is (vacuum, checkpoints, statistics) looks after the tables."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = b""
    return "postgres backend" if b"haulage_app" in command else "postgres upkeep"


@contextmanager
def a_system(settings: Settings) -> Iterator[System]:
    """Bring the system up in the home of `settings`, and end it."""
    with running(settings, bring=True) as up:
        assert up.urls.postgres_admin is not None, "benchmarks run on embedded servers"
        with Bus(up.urls.nats, name="bench") as bus:
            yield System(up, bus, up.urls.postgres_admin, Servers(settings))
