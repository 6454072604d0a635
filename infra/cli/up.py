"""`haulage up`, `down`, and the two processes that `up` keeps running: `worker` and `control`."""

import time
from contextlib import suppress

from haulage.domain.errors import HaulageError
from haulage.infra.bootstrap import prepare
from haulage.infra.cli.exits import Exit
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.running import CONTROL
from haulage.infra.cli.signals import handled
from haulage.infra.cli.terminal import hint, write
from haulage.infra.logs import configure_logs
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.sessions import living
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings, redacted
from haulage.infra.supervisor import Supervisor

LOOK_EVERY_SECONDS = 0.05

LEVELS = ("debug", "info", "warning", "error")


def up(settings: Settings, *, log_level: str) -> int:
    """Run everything until Ctrl-C or SIGTERM; a second one ends it without waiting for work in hand."""
    _configure_logs(log_level)
    supervisor = Supervisor(settings, prepare=prepare, log_level=log_level)
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        supervisor.ask_to_stop()
        if len(asked) == 2:
            raise KeyboardInterrupt

    with handled(stop):
        try:
            _await_control(supervisor, supervisor.start(), settings.start_seconds)
            _announce(settings, supervisor.pids())
            supervisor.run()
            hint("Stopping: work in hand is finished first. Once more stops at once.")
            supervisor.stop()
        except KeyboardInterrupt:
            supervisor.stop(at_once=True)
    return Exit.COMPLETED


def down(settings: Settings, *, force: bool) -> None:
    """Stop the embedded servers. InUseError, which names them, where other processes use these and not `force`."""
    stopped = Servers(settings).stop(force=force)
    hint(f"The servers of {settings.home} are stopped." if stopped else f"No servers of {settings.home} were running.")


def worker(settings: Settings, *, attached: bool, log_level: str) -> None:
    """Run one worker until it is told to stop."""
    from haulage.infra.processes import run_worker

    _configure_logs(log_level)
    run_worker(settings, attached=attached)


def control(settings: Settings, *, attached: bool, log_level: str) -> None:
    """Run one control process until it is told to stop."""
    from haulage.infra.processes import run_control

    _configure_logs(log_level)
    run_control(settings, attached=attached)


def _configure_logs(level: str) -> None:
    if level.lower() not in LEVELS:
        raise UsageError(f"There is no log level `{level}`; the levels are: {', '.join(LEVELS)}.")
    configure_logs(level)


def _await_control(supervisor: Supervisor, urls: ServerUrls, seconds: float) -> None:
    """Wait until commands are taken in: who reads that Haulage is up may send one at once."""
    deadline = time.monotonic() + seconds
    with Database(urls.postgres_app, size=1, application_name="haulage-up") as database:
        while not supervisor.asked_to_stop and time.monotonic() < deadline:
            supervisor.run_once()
            with suppress(HaulageError), database.connection() as connection:
                if any(role == CONTROL for _, role, *_ in living(connection)):
                    return
            time.sleep(LOOK_EVERY_SECONDS)


def _announce(settings: Settings, pids: dict[str, int]) -> None:
    status = Servers(settings).status()
    write(f"Haulage is up in {settings.home}.")
    for name, server in (("PostgreSQL", status.postgres), ("NATS", status.nats)):
        write(f"  {name:<10}  {redacted(server.url or '')}")
    for name, pid in pids.items():
        write(f"  {name:<10}  pid {pid}")
    hint("Ctrl-C stops it; `haulage status --json` prints the URLs with their passwords.")
