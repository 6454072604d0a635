"""Puppets: work that stops in the middle where it is told to, and goes on when it is told to.

Each puppet has a thread, but only one thread runs at any time, and which one is for the simulation to say. So any
interleaving can be had, and the same one again.
"""

from collections.abc import Callable
from threading import Lock, Thread
from typing import ClassVar


class Puppet:
    """One piece of work after the other. Made by `take`, and given back when its work has ended."""

    _idle: ClassVar[list["Puppet"]] = []

    def __init__(self) -> None:
        self._its_turn, self._our_turn = Lock(), Lock()
        self._its_turn.acquire()
        self._our_turn.acquire()
        self._work: Callable[[], int] = lambda: 0
        self._killed: BaseException | None = None
        self._ended = True
        self._done = 0
        self._error: BaseException | None = None
        Thread(target=self._live, daemon=True, name="puppet").start()

    @classmethod
    def take(cls, work: Callable[[], int]) -> "Puppet":
        """A puppet for this work, which has not begun yet."""
        puppet = cls._idle.pop() if cls._idle else cls()
        puppet._work, puppet._ended, puppet._killed, puppet._error = work, False, None, None
        return puppet

    def go_on(self) -> int | None:
        """Let the work begin or go on: what it returned, or None where it stands still. Raises what it raised."""
        self._its_turn.release()
        self._our_turn.acquire()
        if not self._ended:
            return None
        self._idle.append(self)
        if self._error:
            raise self._error
        return self._done

    def kill(self, error: BaseException) -> None:
        """End work that stands still: `error` is raised where it does."""
        self._killed = error
        try:
            self.go_on()
        except BaseException as raised:
            if raised is not error:
                raise

    def stand_still(self) -> None:
        """Called by the work itself: let others go on."""
        self._our_turn.release()
        self._its_turn.acquire()
        if self._killed:
            raise self._killed

    def _live(self) -> None:
        while True:
            self._its_turn.acquire()
            try:
                self._done = self._work()
            except BaseException as error:  # noqa: BLE001 - it is raised where the work was told to go on
                self._error = error
            self._ended = True
            self._our_turn.release()
