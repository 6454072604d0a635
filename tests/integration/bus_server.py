"""A NATS server of a test's own, to be killed, frozen, emptied, and given an older copy of its store."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

BINARY = Path(sys.executable).parent / "nats-server"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} seconds"
        time.sleep(0.01)


class BusServer:
    """`nats-server` with JetStream on a port and a store that stay the same over restarts."""

    def __init__(self, folder: Path, config: str = "", *, jetstream: bool = True) -> None:
        self._store = folder / "store"
        self._config = folder / "nats.conf"
        self._log = folder / "nats.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        store = f'jetstream {{ store_dir: "{self._store}" }}\n' if jetstream else ""
        self._config.write_text(f'listen: "127.0.0.1:{self.port}"\n{store}{config}')

    def limit_store(self, size: int) -> None:
        """Give JetStream so many bytes at the next start."""
        text = self._config.read_text()
        self._config.write_text(text.replace("jetstream {", f"jetstream {{ max_file_store: {size},"))

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> "BusServer":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([BINARY, "--config", self._config], stdout=log, stderr=log)
        until(self._listens)
        return self

    def kill(self) -> None:
        """`kill -9`; nothing where it does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Returns when it does nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        frozen = psutil.Process(self._process.pid)
        until(lambda: frozen.status() == psutil.STATUS_STOPPED)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def copy_store(self, to: Path) -> None:
        """Only while it does not run."""
        assert self._process is None
        shutil.copytree(self._store, to)

    def put_store_back(self, copy: Path) -> None:
        assert self._process is None
        shutil.rmtree(self._store)
        shutil.copytree(copy, self._store)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False
