"""Port calls, each with a point before and a point after at which something may go wrong.

A point is told to the simulation as `before append` or `after commit`. It may return (all is well, or all was well
after others had been at work for a while), or raise: `CrashError` ends the actor's process, `NotReachableError` is a
lost connection. Raised after the commit, the answer is lost but everything was done.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from memory import InMemoryStore

from haulage.domain.errors import HaulageError

Point = Callable[[str], None]


class CrashError(BaseException):
    """The process is gone. No `except Exception` can stop it."""


class FaultyPort:
    """A port whose every call has a point before and after."""

    def __init__(self, inner: Any, point: Point) -> None:
        self._inner = inner
        self._point = point

    def __getattr__(self, name: str) -> Any:
        method, point = getattr(self._inner, name), self._point

        def call(*args: Any, **kwargs: Any) -> Any:
            point(f"before {name}")
            try:
                answer = method(*args, **kwargs)
            except HaulageError as error:
                point(f"{name}: {type(error).__name__}")
                raise
            point(f"after {name}")
            return answer

        # Found by the next call without asking here.
        self.__dict__[name] = call
        return call


class FaultyUnit(FaultyPort):
    """A transaction; its participants have points, too."""

    def participant(self, name: str) -> Any:
        """The participant of that name."""
        return FaultyPort(self._inner.participant(name), self._point)


class FaultyStore(FaultyPort):
    """A store; its transactions have points, and so have their commits."""

    def __init__(self, inner: InMemoryStore, point: Point) -> None:
        super().__init__(inner, point)

    @contextmanager
    def begin(self) -> Iterator[FaultyUnit]:
        """A transaction."""
        self._point("before begin")
        with self._inner.begin() as unit:
            yield FaultyUnit(unit, self._point)
            self._point("before commit")
        self._point("after commit")
