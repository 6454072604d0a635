"""The system for as long as one command needs it: what is up already, else brought up by the command itself.

Crash story.
1. What we rely on is another's (`haulage up`, another `haulage run`) and that one ends: at the next look we see that no
   control process lives, and bring one up ourselves.
2. A child or a server dies: the supervisor brings it back, ours in its thread, another's in its process.
3. We die: our children see the end of their pipe and stop cleanly; the operation goes on with whoever is up next.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg

from haulage.domain.errors import HaulageError
from haulage.infra.bootstrap import Parts, parts, prepare
from haulage.infra.cli.access import refuse_old_schema
from haulage.infra.cli.bar import short
from haulage.infra.cli.signals import handled, interrupt
from haulage.infra.cli.terminal import hint
from haulage.infra.cli.wording import shown
from haulage.infra.postgres.sessions import living
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings
from haulage.infra.supervisor import Supervisor

LOOK_EVERY_SECONDS = 1.0

CONTROL = "control"
"""The role of the process that takes in commands."""


class Running:
    """Servers, parts and, where needed, a supervisor. `bring`: whether one may be brought up."""

    def __init__(self, settings: Settings, servers: Servers, urls: ServerUrls, opened: Parts, *, bring: bool) -> None:
        self.settings = settings
        self.urls = urls
        self.parts = opened
        self._servers = servers
        self._bring = bring
        self._supervisor: Supervisor | None = None
        self._thread: threading.Thread | None = None
        self._look_at = 0.0

    @property
    def ours(self) -> bool:
        """Whether what is up ends with us."""
        return self._supervisor is not None

    def pids(self) -> dict[str, int]:
        """The processes we brought up, by name."""
        return self._supervisor.pids() if self._supervisor else {}

    def up(self) -> bool:
        """Whether a control process lives, ours or another's."""
        with self.parts.database.connection() as connection:
            return any(role == CONTROL for _, role, *_ in living(connection))

    def afterwards(self, operation: UUID) -> str:
        """What becomes of an operation when this command ends before it."""
        name = short(operation)
        if self.ours:
            return f"It stands still now; `haulage resume {name}` goes on with it, or `haulage up`."
        return f"It goes on; `haulage watch {name}` follows it."

    def look_after(self) -> None:
        """See to it, about once a second, that the system is up. Cheap in between, and never raises."""
        if self.ours or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_EVERY_SECONDS
        try:
            self._servers.ensure()
            if self._bring and not self.up():
                self.bring_up()
        except (HaulageError, psycopg.Error):
            # The servers are away just now; the next look comes soon, and who follows says so.
            pass

    def bring_up(self) -> None:
        """Start a supervisor, which looks after everything until `stop`. A repeat does nothing."""
        if self._supervisor is not None:
            return
        log = self.settings.home / "log" / "haulage.log"
        supervisor = Supervisor(self.settings, prepare=prepare, log_level="warning", log=log)
        supervisor.start()
        self._supervisor = supervisor
        self._thread = threading.Thread(target=supervisor.run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what we brought, letting it finish what is in hand. A repeat does nothing."""
        if self._supervisor is None:
            return
        self._supervisor.ask_to_stop()
        if self._thread is not None:
            self._thread.join()
        self._supervisor.stop()
        self._supervisor = None


def may_bring(settings: Settings) -> bool:
    """Whether a command may bring up the system: only where no server is named by a URL, and so none is shared."""
    return settings.postgres_url is None and settings.nats_url is None


@contextmanager
def running(settings: Settings, *, bring: bool) -> Iterator[Running]:
    """The system, ready to be asked and followed. With `bring`, it is brought up where nothing is.

    Signals that ask us to end are exceptions within the block, so that what we brought is ended in order.
    """
    servers = Servers(settings)
    if _must_start(settings, servers):
        hint(f"Starting PostgreSQL and NATS in {shown(settings.home)} …")
    with handled(interrupt), servers as urls:
        if settings.postgres_url is None:
            prepare(urls)
        with parts(urls, application_name="haulage-cli", connections=2) as opened:
            if settings.postgres_url is not None:
                refuse_old_schema(opened)
            system = Running(settings, servers, urls, opened, bring=bring and may_bring(settings))
            try:
                if bring and may_bring(settings) and not system.up():
                    system.bring_up()
                yield system
            finally:
                system.stop()


def _must_start(settings: Settings, servers: Servers) -> bool:
    status = servers.status()
    return may_bring(settings) and not (status.postgres.running and status.nats.running)
