"""The one place where components run for ever: a thread each, woken when there is something to do, stopped together.

A component is a function that does what there is to do now and says how much that was. What it raises is logged, and
it is called again after a growing pause; it must be able to start over at any time, and says how in its crash story.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from haulage.domain.errors import HaulageError

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

_log = structlog.get_logger("haulage")

Wait = Callable[[str, float], object]
"""Waits until something (`log`, `work`) is said to be new, at most so many seconds."""


@dataclass(slots=True)
class Loop:
    """One component. `wakes_on` is what it waits for when idle; `poll_seconds` how long at most."""

    name: str
    run_once: Callable[[], int]
    wakes_on: str
    poll_seconds: float
    trouble: str | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


class Loops:
    """The loops of a process."""

    def __init__(self, wait: Wait, wake: Callable[[str], None]) -> None:
        self._wait = wait
        self._wake = wake
        self._stop = threading.Event()
        self._loops: list[Loop] = []

    def add(self, name: str, run_once: Callable[[], int], *, wakes_on: str, poll_seconds: float) -> None:
        """Start running a component."""
        loop = Loop(name, run_once, wakes_on, poll_seconds)
        loop.thread = threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
        self._loops.append(loop)
        loop.thread.start()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called; long work looks at it between transactions."""
        return self._stop.is_set()

    def stop(self, seconds: float) -> list[str]:
        """Let each component finish what it is doing, at most so long; the names of those that did not."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for loop in self._loops:
            self._wake(loop.wakes_on)
        for loop in self._loops:
            if loop.thread:
                loop.thread.join(max(0.0, deadline - time.monotonic()))
        return [loop.name for loop in self._loops if loop.thread and loop.thread.is_alive()]

    def _run(self, loop: Loop) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                done = loop.run_once()
            except Exception as error:  # noqa: BLE001 - a component that can't go on now is tried again, visibly
                self._tell(loop, error)
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            if loop.trouble:
                _log.info("goes on", component=loop.name)
                loop.trouble = None
            pause = FIRST_PAUSE_SECONDS
            if not done:
                self._wait(loop.wakes_on, loop.poll_seconds)

    def _tell(self, loop: Loop, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if trouble == loop.trouble:
            return
        loop.trouble = trouble
        if isinstance(error, HaulageError):
            _log.warning("waits", component=loop.name, why=str(error))
        else:
            _log.exception("failed", component=loop.name)
