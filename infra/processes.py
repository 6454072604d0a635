"""The two kinds of processes that Haulage is made of, beside its servers.

A *worker* claims work and carries it out; any number, on any hosts. The *control* process takes commands in, dispatches
work, keeps the views, publishes events and progress; more than one does no harm. Both are loops over components
that can start over at any time, so both may be killed at any time.
"""

import gc
import random
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from haulage.domain.work import Task
from haulage.infra.attendance import Attendance
from haulage.infra.bootstrap import Parts, parts
from haulage.infra.intake import CommandHandler, InputPolicy
from haulage.infra.loops import Loops
from haulage.infra.nats.answers import Reader
from haulage.infra.nats.commands import CommandService
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.event_stream import EventStream
from haulage.infra.nats.objects import InputObjects
from haulage.infra.nats.progress import ProgressPublisher
from haulage.infra.nats.queries import QueryService
from haulage.infra.nats.relay import Relay
from haulage.infra.nats.streams import Streams
from haulage.infra.nats.submit import SubmissionReader
from haulage.infra.nats.wake import Waker
from haulage.infra.planner import Planner
from haulage.infra.postgres.sessions import Session, unique_application_name
from haulage.infra.postgres.work import definition_token
from haulage.infra.progress_feed import ProgressFeed
from haulage.infra.projector import Projector
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings
from haulage.infra.settling import Settling
from haulage.infra.supervisor import stop_when_parent_ends
from haulage.infra.worker import Worker
from haulage.sagas.dispatcher import Dispatcher
from haulage.sagas.executor import Executor
from haulage.sagas.intake import Intake

ATTEND_EVERY_SECONDS = 0.25
SETTLE_EVERY_SECONDS = 2.0
PROJECT_EVERY_SECONDS = 0.1
CONTROL_CONNECTIONS = 14
"""One for each loop, for the commands and for each thread that answers questions."""

STATEMENT_SECONDS = 5.0
"""A chunk whose statement takes longer is given up, tried again, and in the end split."""

POLL_SECONDS = 0.25
"""How long what waits for a wake-up waits at most: wake-ups may be lost."""


def run_worker(settings: Settings, *, attached: bool) -> None:
    """Work until told to stop; then finish the piece in hand and give the others back."""
    with _process(settings, "worker", attached, connections=3, statement_seconds=STATEMENT_SECONDS) as process:
        opened, loops, waker = process.parts, process.loops, process.waker
        executor = Executor(opened.store, opened.definitions, now=lambda: datetime.now(UTC), chance=random.random)
        planner = Planner(
            opened.store,
            opened.definitions,
            executor,
            fetch=InputObjects(process.bus).fetched,
            folders=input_folders(settings),
            chance=random.random,
            stopping=lambda: loops.stopping,
        )
        worker = Worker(
            opened.database,
            process.session,
            _tokens(opened),
            {Task.PLAN: planner.plan, Task.APPLY: executor.apply, Task.COMPENSATE: executor.compensate},
            waker,
            lambda: loops.stopping,
        )
        loops.add("worker", worker.run_once, wakes_on="work", poll_seconds=POLL_SECONDS)
        process.wait()


def run_control(settings: Settings, *, attached: bool) -> None:
    """Take in commands, dispatch, project, relay until told to stop."""
    with _process(settings, "control", attached, connections=CONTROL_CONNECTIONS) as process:
        opened, loops, bus, waker = process.parts, process.loops, process.bus, process.waker
        intake = Intake(
            opened.store,
            opened.definitions,
            waker,
            new_salt=lambda: secrets.token_bytes(16),
            check_input=InputPolicy(input_folders(settings)),
        )
        handler = CommandHandler(intake)
        streams = Streams(bus)
        bus.on_connection(streams.ensure)
        commands = CommandService(bus, handler.handle)
        commands.start()
        queries = QueryService(bus, Reader(opened.database, opened.log).answers())
        queries.start()
        dispatcher = Dispatcher(opened.store, waker)
        projector = Projector(opened.database, opened.log)
        relay = Relay(opened.database, opened.log, bus, streams)
        feed = ProgressFeed(opened.database)
        progress = ProgressPublisher(bus, streams, feed.recent)
        submissions = SubmissionReader(bus, streams, handler.handle)
        settling = Settling(opened.database, bus, EventStream(bus, streams))
        loops.add("settling", settling.run_once, wakes_on="settling", poll_seconds=SETTLE_EVERY_SECONDS)
        loops.add("dispatcher", dispatcher.run_once, wakes_on="log", poll_seconds=POLL_SECONDS)
        # Not at every event: a group costs hardly more than one, and a progress may be a quarter of a second old.
        loops.add("projector", projector.run_once, wakes_on="views", poll_seconds=PROJECT_EVERY_SECONDS)
        loops.add("relay", relay.run_once, wakes_on="log", poll_seconds=POLL_SECONDS)
        loops.add("progress", lambda: feed.run_once(progress), wakes_on="log", poll_seconds=POLL_SECONDS)
        loops.add("submissions", submissions.run_once, wakes_on="submit", poll_seconds=POLL_SECONDS)
        process.wait()
        commands.stop(settings.drain_seconds)
        queries.stop()
        relay.close()


def input_folders(settings: Settings) -> tuple[Path, ...] | None:
    """Where a command's path may lead: anywhere while all is on one machine, for one person; else only where set."""
    embedded = settings.postgres_url is None and settings.nats_url is None
    return None if embedded and not settings.input_folders else settings.input_folders


class _Process:
    """What both kinds have: parts, a bus, a session that is attended to, loops, and a way to be told to stop."""

    def __init__(
        self,
        settings: Settings,
        urls: ServerUrls,
        role: str,
        stack: ExitStack,
        *,
        connections: int,
        statement_seconds: float | None,
    ) -> None:
        name = unique_application_name(role)
        self.settings = settings
        opened = parts(urls, application_name=name, connections=connections, statement_seconds=statement_seconds)
        self.parts = stack.enter_context(opened)
        self.bus = Bus(urls.nats, name=name, credentials=urls.nats_credentials).open(patience_seconds=None)
        stack.callback(self.bus.close)
        self.waker = Waker(self.bus)
        self.loops = Loops(self.waker.wait, self.waker.wake)
        self.session = Session(
            urls.postgres_app,
            role=role,
            application_name=name,
            definitions=_tokens(self.parts),
            lease_seconds=settings.lease_seconds,
        )
        attendance = Attendance(self.session, self.parts.database, self.waker, settings.lease_seconds)
        self.loops.add("attendance", attendance.run_once, wakes_on="attendance", poll_seconds=ATTEND_EVERY_SECONDS)
        self._told = threading.Event()

    def tell(self, *_: object) -> None:
        """Let `wait` return; for signals, and for the end of a parent."""
        self._told.set()

    def wait(self) -> None:
        """Until told to stop; then let the components finish what they are doing."""
        while not self._told.wait(3600):
            pass
        self.loops.stop(self.settings.drain_seconds)


@contextmanager
def _process(
    settings: Settings, role: str, attached: bool, *, connections: int, statement_seconds: float | None = None
) -> Iterator[_Process]:
    # Rows and events are made and gone by the hundred thousand a second, none of them in circles, and what was imported
    # stays for good: at its usual pace the collector would take a third of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with ExitStack() as stack:
        urls = stack.enter_context(Servers(settings))
        process = _Process(settings, urls, role, stack, connections=connections, statement_seconds=statement_seconds)
        _on_signals(process.tell)
        if attached:
            stop_when_parent_ends(process.tell)
        yield process
        process.session.end()


def _on_signals(tell: Callable[..., None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)


def _tokens(opened: Parts) -> list[str]:
    return [definition_token(kind, version) for kind, version in opened.definitions.known()]
