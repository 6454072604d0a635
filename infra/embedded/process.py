"""A server process: detached from whoever started it, recognised by what it holds and says, ended for certain.

Each server inherits an open, locked file (`flock`) from its starter and passes it on to its children. The lock is free
when the last of them is gone: no process id can be mistaken for another's, and orphans of a killed postmaster count.
The processes to signal are found by their command lines, which name the home's id.
"""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from haulage.infra.embedded.errors import EmbeddedError
from haulage.infra.embedded.polling import until
from haulage.infra.embedded.quarters import Account

LOG_BYTES = 10_000_000

# The shell goes away at once, so that the server is nobody's child: its end leaves no zombie with us, which PostgreSQL
# would take for a living postmaster.
_DETACH = '"$@" &'


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One server of one home. `recognise` tells from a command line whether a process is part of it."""

    label: str
    lock: Path
    log: Path
    recognise: Callable[[Sequence[str]], bool]

    def alive(self) -> bool:
        """Whether any process of the server exists."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def launch(self, command: Sequence[str | Path], account: Account, folder: Path) -> int:
        """Start `command` in `folder`, in a session of its own, as `account`.

        Only under the home's lock, and when not `alive`. Returns at once (the server may yet fail) where in the log
        its words will begin.
        """
        with self.hold() as descriptor, self._open_log() as log:
            start = log.seek(0, os.SEEK_END)
            account.run(["/bin/sh", "-c", _DETACH, "sh", *command], folder, log, keep=(descriptor,))
            return start

    @contextmanager
    def hold(self) -> Iterator[int]:
        """Take the server's lock, for processes that will keep it: its descriptor. Not when `alive`."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # A moment's wait: somebody may be looking.
            if not until(lambda: _take(descriptor), 2):
                raise EmbeddedError(f"{self.label} is already running; {self.lock} is held.")
            yield descriptor
        finally:
            os.close(descriptor)

    def pids(self) -> list[int]:
        """The processes of the server that this process can see."""
        return [pid for pid in _all_pids() if self.recognise(command_line(pid))]

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Send a signal to those of `pids` that still belong to the server."""
        for pid in pids:
            with suppress(ProcessLookupError):
                if self.recognise(command_line(pid)):
                    os.kill(pid, number)

    def gone(self, seconds: float) -> bool:
        """Whether every process of the server has ended within `seconds`."""
        return until(lambda: not self.alive(), seconds)

    def kill(self) -> None:
        """End every process of the server, whatever it is doing; raises if that can't be done from here."""
        if until(lambda: self._killed_all(), 10):
            return
        raise EmbeddedError(
            f"{self.label} of this home runs where it can't be reached from here (another container or host?): "
            f"{self.lock} is held. Stop it there, or choose another home with HAULAGE_HOME."
        )

    def said(self, since: int) -> str:
        """What the log says from byte `since`, at most its last 2,000 characters."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace").strip()[-2000:]
        return ""

    def _killed_all(self) -> bool:
        # Again and again: a process may fork while we look.
        self.signal(self.pids(), signal.SIGKILL)
        return self.gone(0.1)

    def _open_log(self) -> IO[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty for one that has ended (zombies too) and for the kernel's own."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in raw.rstrip(b"\0").split(b"\0") if raw]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
