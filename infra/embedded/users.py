"""Who uses the servers of a home: one file per user, locked for as long as the user lives.

The kernel drops the lock when the process ends, however it ends, so a dead user is noticed without asking anybody, from
other containers too. Files are made and removed under the home's lock only: nobody takes a file for a dead user's while
its owner is about to lock it.
"""

import fcntl
import json
import os
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses the servers; `since` in seconds of the wall clock."""

    pid: int
    command: str
    since: float


class Registration:
    """Our own place among the users, from `register` to `leave` (or to the end of the process)."""

    def __init__(self, folder: Path) -> None:
        """Register this process, under the home's lock."""
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        user = User(os.getpid(), " ".join(sys.argv)[:200], time.time())
        os.write(self._descriptor, json.dumps(asdict(user)).encode())

    def leave(self) -> None:
        """Under the home's lock; once."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def living_users(folder: Path, *, sweep: bool = False) -> list[tuple[Path, User]]:
    """Everyone who uses the servers now; `sweep` (under the home's lock) removes what the dead left behind."""
    living = []
    for path in sorted(folder.glob("*.json")):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            if _is_locked(descriptor):
                living.append((path, _user(path)))
            elif sweep:
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    return living


def _is_locked(descriptor: int) -> bool:
    try:
        # Shared, so that two who look at once don't take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _user(path: Path) -> User:
    try:
        return User(**json.loads(path.read_text()))
    except ValueError:  # looked at between its lock and its text
        return User(int(path.name.partition("-")[0]), "", time.time())
