"""Other processes that use embedded servers, and the servers' own processes: start them, kill them, look at them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haulage.infra.embedded.polling import until
from haulage.infra.embedded.process import command_line

# Not durable, and only in tests: nobody's data outlives one.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "min_wal_size": "80MB",
    "max_wal_size": "1GB",
    # Its transactions hold the log's horizon back for a moment, and a test that reads what it just appended sees less.
    "autovacuum": "off",
}

User = subprocess.Popen[bytes]


@contextmanager
def user_of(home: Path) -> Iterator[User]:
    """Another process that begins to use the servers of `home`; killed at the end of the block, if it still lives."""
    program = Path(__file__).parent / "server_user.py"
    command = [sys.executable, str(program), str(home), json.dumps(FAST)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def pids_of(user: User) -> tuple[int, int]:
    """Wait until `user` has its servers: the process ids of PostgreSQL and of NATS."""
    assert user.stdout is not None
    postgres, nats = user.stdout.readline().split()
    return int(postgres), int(nats)


def leave(user: User) -> None:
    """Let `user` leave its servers in good order."""
    user.communicate(timeout=30)
    assert user.returncode == 0


def end(pid: int | None, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process that is no child of ours, and wait until it is gone."""
    assert pid is not None
    os.kill(pid, number)
    assert until(lambda: not lives(pid), 10)


def lives(pid: int | None) -> bool:
    """Whether the process exists; a zombie does not."""
    return pid is not None and command_line(pid) != []
