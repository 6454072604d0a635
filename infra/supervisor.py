"""The supervisor: the servers, one control process and the workers, each brought back when it dies. `haulage up`.

Crash story.
1. A child died: it is started again, after a pause that grows while it keeps dying.
2. An embedded server died: it is started again; the children wait for it by themselves.
3. The supervisor died: each child holds the reading end of a pipe from it, sees the end, and stops cleanly.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import structlog

from haulage.domain.errors import HaulageError
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings

LOOK_EVERY_SECONDS = 0.25
STEADY_AFTER_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger("haulage.supervisor")


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_seconds: float = 0.1


class Supervisor:
    """Keeps the system running between `start` and `stop`; `run_once` looks after everything once."""

    def __init__(
        self,
        settings: Settings,
        *,
        prepare: Callable[[ServerUrls], None],
        log_level: str = "info",
        log: Path | None = None,
    ) -> None:
        """`prepare` brings a database up to date (migrations, history) before anything works on it.

        The children write their log to the end of the file `log`; without one, to our standard error.
        """
        self._settings = settings
        self._servers = Servers(settings)
        self._prepare = prepare
        self._log = log
        this = [sys.executable, "-m", "haulage"]
        options = ["--attached", "--log-level", log_level]
        self._children = [_Child("control", [*this, "control", *options])]
        self._children += [_Child(f"worker-{n + 1}", [*this, "worker", *options]) for n in range(settings.workers)]
        self._stop = threading.Event()

    def start(self) -> ServerUrls:
        """Bring up the servers, prepare the database, start the children."""
        urls = self._servers.acquire()
        try:
            self._prepare(urls)
        except BaseException:
            self._servers.release()
            raise
        for child in self._children:
            self._launch(child)
        return urls

    def run_once(self) -> int:
        """Bring back what has died; how many that were."""
        revived = 0
        try:
            self._servers.ensure()
        except HaulageError as error:
            _log.warning("a server can't be started", why=str(error))
        for child in self._children:
            revived += self._look_after(child)
        return revived

    def run(self) -> None:
        """Look after everything until `ask_to_stop`."""
        while not self._stop.wait(LOOK_EVERY_SECONDS):
            self.run_once()

    @property
    def asked_to_stop(self) -> bool:
        """Whether `ask_to_stop` or `stop` was called."""
        return self._stop.is_set()

    def ask_to_stop(self) -> None:
        """Let `run` return; for signal handlers."""
        self._stop.set()

    def stop(self, *, at_once: bool = False) -> None:
        """Let the children drain, or kill them `at_once`; then leave the servers. A repeat does nothing."""
        self._stop.set()
        running = [child.process for child in self._children if child.process and child.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
        deadline = time.monotonic() + self._settings.drain_seconds + 2
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self._children:
            child.process = None
        self._servers.release()

    def pids(self) -> dict[str, int]:
        """The running children by name."""
        return {c.name: c.process.pid for c in self._children if c.process and c.process.poll() is None}

    def _look_after(self, child: _Child) -> int:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return 0
            steady = now - child.started_at > STEADY_AFTER_SECONDS
            child.pause_seconds = 0.1 if steady else min(child.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            child.process, child.start_at = None, now + child.pause_seconds
            _log.warning("a process died and is started again", process=child.name, exit_code=code)
        if now < child.start_at or self._stop.is_set():
            return 0
        self._launch(child)
        return 1

    def _launch(self, child: _Child) -> None:
        child.started_at = time.monotonic()
        environment = dict(os.environ) | {"HAULAGE_HOME": str(self._settings.home)}
        with self._log.open("ab") if self._log else nullcontext() as log:
            # A session of its own: Ctrl-C at the terminal is for us, who then stop the children in order.
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,
            )


def stop_when_parent_ends(stop: Callable[[], None]) -> None:
    """For an attached child: call `stop` when the pipe from the supervisor closes, however it ended."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
