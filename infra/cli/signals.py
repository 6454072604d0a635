"""Signals that ask a command to end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made to end a command as Ctrl-C does. `exit_code` is 128 and the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def handled(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each signal that asks us to end, within the block.

    One that is ignored (after `nohup`, or in the background of a script) stays ignored.
    """

    def called(number: int, _: FrameType | None) -> None:
        handle(number)

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, called) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int) -> None:
    """For `handled`: end the block by an exception, so that everything in it is left in order."""
    raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError(number)
