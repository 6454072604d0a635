"""The embedded NATS server of a home, with JetStream.

Crash story: killed at any point, it is started again on the same port and the same store. What JetStream had not yet
synced to disk may be missing then; the log in PostgreSQL is the record, and the relay publishes again what is missing.
"""

import json
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from haulage.infra.embedded.errors import EmbeddedError, PortTakenError, gist
from haulage.infra.embedded.home import Home, Identity, Secrets, write
from haulage.infra.embedded.polling import until
from haulage.infra.embedded.ports import HOST, candidates, is_free
from haulage.infra.embedded.process import ServerProcess
from haulage.infra.embedded.quarters import Quarters, data_folder

MAX_STORE_BYTES = 10 * 1024**3
MAX_MEMORY_BYTES = 128 * 1024**2
MAX_PAYLOAD_BYTES = 8 * 1024**2

_HANGS_AFTER_SECONDS = 10.0


class NatsServer:
    """The NATS server of one home. Methods that change something are called under the home's lock."""

    name = "nats"

    def __init__(self, home: Home, identity: Identity) -> None:
        self._home = home
        self._folder = data_folder(home, identity)
        self._tag = f"haulage-{identity.id}"
        self._seed = int(identity.id, 16) + 1  # PostgreSQL's next door
        self.process = ServerProcess(
            "The NATS server", home.path / "nats.lock", home.log_folder / "nats.log", self._recognise
        )

    def pid(self) -> int | None:
        """The server's, if it lives."""
        return next(iter(self.process.pids()), None) if self.process.alive() else None

    def running(self) -> bool:
        """Whether it lives and takes connections."""
        return self.process.alive() and self._greets()

    def start(self, quarters: Quarters, secrets: Secrets, asked_port: int, seconds: float) -> None:
        """Start it and return when it takes connections."""
        if self.process.alive():
            if until(self.running, self._patience(seconds)):
                return
            self.process.kill()
        for port in candidates(self.name, asked_port, self._home.port(self.name), self._seed):
            with suppress(PortTakenError):  # between the look and the start; the next one, then
                self._start_on(port, quarters, secrets, seconds)
                return

    def stop(self) -> None:
        """End it: in order if it can be, by force if not. Does nothing when it does not run."""
        self.process.signal(self.process.pids(), signal.SIGTERM)
        if not self.process.gone(10):
            self.process.kill()

    def url(self, token: str) -> str:
        """For any client on this machine."""
        return f"nats://{token}@{HOST}:{self._home.port(self.name)}"

    def _start_on(self, port: int, quarters: Quarters, secrets: Secrets, seconds: float) -> None:
        store = quarters.private_folder("nats")
        settings = self._folder / "nats.conf"
        write(settings, self._settings(port, store, secrets.nats_token), quarters.reader)
        # Before the launch: should we die within it, the server is found where it is.
        self._home.keep_port(self.name, port)
        command: list[str | Path] = [quarters.binaries.nats_server, "--name", self._tag, "--config", settings]
        self._await_ready(self.process.launch(command, quarters.account, store), seconds)

    def _await_ready(self, log_start: int, seconds: float) -> None:
        ended = until(lambda: self._greets() or not self.process.alive(), seconds)
        if ended and self.running():
            return
        said = self.process.said(log_start)
        if "address already in use" in said:
            raise PortTakenError(said)
        happened = "did not start" if ended else f"is not ready after {seconds:g} seconds"
        raise EmbeddedError(f"The NATS server {happened}. Its log, {self.process.log}, says:\n{gist(said)}")

    def _greets(self) -> bool:
        """Whether our server, and no other, answers at the port."""
        port = self._home.port(self.name)
        with suppress(OSError, ValueError), socket.create_connection((HOST, port or 0), timeout=2) as connection:
            line = connection.makefile("rb").readline()
            return bool(json.loads(line.removeprefix(b"INFO "))["server_name"] == self._tag)
        return False

    def _patience(self, seconds: float) -> float:
        """How long to wait for a server that lives and is not running: its starter is gone, or lost patience."""
        port = self._home.port(self.name)
        if port is None:  # nobody knows where it listens
            return 0
        # One that listens and says nothing hangs.
        return seconds if is_free(port) else _HANGS_AFTER_SECONDS

    def _settings(self, port: int, store: Path, token: str) -> str:
        return "\n".join(
            [
                "# Written by Haulage at each start.",
                f'listen: "{HOST}:{port}"',
                f'authorization {{ token: "{token}" }}',
                f"max_payload: {MAX_PAYLOAD_BYTES}",
                "jetstream {",
                f"  store_dir: {json.dumps(str(store))}",
                f"  max_file_store: {MAX_STORE_BYTES}",
                f"  max_memory_store: {MAX_MEMORY_BYTES}",
                "}",
                "",
            ]
        )

    def _recognise(self, arguments: Sequence[str]) -> bool:
        return self._tag in arguments and "--name" in arguments
