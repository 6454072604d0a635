"""The embedded PostgreSQL of a home.

Crash story:
1. Killed while it is being initialised: it is initialised in a folder of another name, which becomes the data folder
   by one rename; what is left of earlier attempts is thrown away.
2. The postmaster killed: its children end by themselves when they notice; those that don't within a second are killed,
   since a new postmaster must not share the data folder with them. Its pid file and socket are removed by us, because
   we know (by the lock the server holds) that nobody lives, where PostgreSQL would only see that the number is in use,
   if by a zombie.
3. The machine lost: fsync and synchronous_commit are on; PostgreSQL recovers from its log.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from haulage.infra.embedded.errors import EmbeddedError, PortTakenError, gist
from haulage.infra.embedded.home import Home, Identity, Secrets, write
from haulage.infra.embedded.polling import until
from haulage.infra.embedded.ports import HOST, candidates
from haulage.infra.embedded.postgres_settings import access_rules, server_settings
from haulage.infra.embedded.process import ServerProcess, command_line
from haulage.infra.embedded.quarters import Quarters, data_folder

ADMIN = "haulage_admin"
APP = "haulage_app"
DATABASE = "haulage"

# The path of a socket has at most 107 bytes, and its name takes some.
_SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.65535")

# Where our own URLs find the socket whatever port the server listens on: a link of this name leads to the real one.
_SOCKET_PORT = 5432


class PostgresServer:
    """The PostgreSQL of one home. Methods that change something are called under the home's lock."""

    name = "postgres"

    def __init__(self, home: Home, identity: Identity, options: Mapping[str, str]) -> None:
        self._home = home
        self._folder = data_folder(home, identity)
        self.data = self._folder / "postgres"
        self._tag = f"haulage-{identity.id}"
        self._seed = int(identity.id, 16)
        self._options = options
        self.process = ServerProcess(
            "PostgreSQL", home.path / "postgres.lock", home.log_folder / "postgres.log", self._recognise
        )

    def pid(self) -> int | None:
        """The postmaster's, if it lives."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        return pid if pid and self._recognise(command_line(pid)) else None

    def running(self) -> bool:
        """Whether it lives, takes connections, and we know where."""
        return self._status() == "ready" and self.pid() is not None and self._home.port(self.name) is not None

    def initialise(self, quarters: Quarters, secrets: Secrets) -> None:
        """Make the data folder with the database `haulage`, unless there is one."""
        if self.data.exists():
            return
        self._bury()  # the initdb of a killed starter may be at work
        new = self._folder / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        quarters.private_folder(new.name)
        password = self._folder / "postgres.password"
        write(password, secrets.admin_password, quarters.reader)
        try:
            self._run(quarters, [quarters.binaries.initdb, *self._initdb_options(new, password)])
        finally:
            password.unlink()
        # In single-user mode, so that data folder and database appear together.
        said = self._run(
            quarters, [quarters.binaries.postgres, "--single", "-D", new, "template1"], f"CREATE DATABASE {DATABASE}\n"
        )
        if "ERROR" in said:
            raise EmbeddedError(f"The database {DATABASE} could not be made:\n{gist(said)}")
        new.rename(self.data)

    def start(self, quarters: Quarters, asked_port: int, seconds: float) -> None:
        """Start it, once initialised, and return when it takes connections. What is left of the last one ends first."""
        if self._status() == "starting" and self.pid() is not None:
            # Whoever launched it is gone, or lost patience.
            self._await_ready(0, seconds)
            return
        self.stop()
        for port in candidates(self.name, asked_port, self._home.port(self.name), self._seed):
            try:
                self._start_on(port, quarters, seconds)
            except PortTakenError:  # between the look and the start; the next one, then
                self._bury()
            else:
                return

    def stop(self) -> None:
        """End it: in order if it can be, by force if not, and whatever is left of it. Does nothing for nothing."""
        pid = self.pid()
        for number, seconds in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 5.0)):
            if pid is not None:
                self.process.signal([pid], number)
                if self.process.gone(seconds):
                    break
        self._bury()

    def url(self, user: str, password: str) -> str:
        """For Haulage itself, by the socket in its private folder: the same for the life of the home.

        Not by the port: when the server is down, another program could take that, and ask for the password.
        """
        host = quote(str(self._socket_folder()), safe="")
        return f"postgresql://{user}:{password}@/{DATABASE}?host={host}&port={_SOCKET_PORT}"

    def tcp_url(self, user: str, password: str) -> str:
        """For other programs on this machine."""
        return f"postgresql://{user}:{password}@{HOST}:{self._home.port(self.name)}/{DATABASE}"

    def _start_on(self, port: int, quarters: Quarters, seconds: float) -> None:
        sockets = self._make_socket_folder(quarters)
        if port != _SOCKET_PORT:
            (sockets / f".s.PGSQL.{_SOCKET_PORT}").symlink_to(f".s.PGSQL.{port}")
        settings = self._folder / "postgresql.conf"
        rules = self._folder / "pg_hba.conf"
        write(settings, server_settings(port, sockets, self._options), quarters.reader)
        write(rules, access_rules(), quarters.reader)
        # Before the launch: should we die within it, the server is found where it is.
        self._home.keep_port(self.name, port)
        command: list[str | Path] = [quarters.binaries.postgres, "-D", self.data]
        for name, value in (("config_file", settings), ("hba_file", rules), ("cluster_name", self._tag)):
            command += ["-c", f"{name}={value}"]
        self._await_ready(self.process.launch(command, quarters.account, self.data), seconds)

    def _await_ready(self, log_start: int, seconds: float) -> None:
        ended = until(lambda: self.running() or not self.process.alive(), seconds)
        if self.running():
            return
        said = self.process.said(log_start)
        if not ended:
            raise EmbeddedError(
                f"PostgreSQL is not ready after {seconds:g} seconds; it may be recovering, and goes on. "
                "Try again, or give it longer with HAULAGE_START_SECONDS. "
                f"Its log, {self.process.log}, says:\n{gist(said)}"
            )
        if "Address already in use" in said:
            raise PortTakenError(said)
        raise EmbeddedError(f"PostgreSQL did not start. Its log, {self.process.log}, says:\n{gist(said)}")

    def _bury(self) -> None:
        """See to it that nothing is left of the last server: no process, no pid file, no socket with its lock."""
        if not self.process.gone(1):
            self.process.kill()
        with suppress(FileNotFoundError):
            (self.data / "postmaster.pid").unlink()
        for left in self._socket_folder().glob(".s.PGSQL.*"):
            left.unlink()

    def _run(self, quarters: Quarters, command: Sequence[str | Path], text: str = "") -> str:
        with self.process.hold() as lock:
            done = quarters.account.run(command, self._folder, subprocess.PIPE, text=text, keep=(lock,))
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode:
            raise EmbeddedError(f"PostgreSQL's data folder could not be made in {self._folder}:\n{gist(said)}")
        return said

    def _initdb_options(self, data: Path, password: Path) -> list[str | Path]:
        return [
            *("-D", data, "-U", ADMIN, "--pwfile", password, "--auth", "scram-sha-256", "--no-instructions"),
            *("--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8", "--data-checksums"),
            *(["--no-sync"] if self._options.get("fsync") == "off" else []),
        ]

    def _make_socket_folder(self, quarters: Quarters) -> Path:
        """A folder of the server's user alone, in the home, or where that path is too long in the temporary folder."""
        folder = self._folder / "run"
        is_short = len(os.fsencode(folder)) <= _SOCKET_FOLDER_BYTES
        if folder.is_symlink() and (is_short or not _is_private(folder.readlink())):
            folder.unlink()
        if is_short:
            return quarters.private_folder("run")
        if not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)  # of a home that was moved to where its path is too long
            folder.symlink_to(tempfile.mkdtemp(prefix="haulage-"))
        return folder.readlink()

    def _socket_folder(self) -> Path:
        folder = self._folder / "run"
        return folder.readlink() if folder.is_symlink() else folder

    def _recognise(self, arguments: Sequence[str]) -> bool:
        # The postmaster by its option, its children by the title they give themselves; initdb by where it works.
        titled = bool(arguments) and arguments[0].startswith(f"postgres: {self._tag}: ")
        return titled or f"cluster_name={self._tag}" in arguments or str(self._folder / "postgres.new") in arguments

    def _status(self) -> str:
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []


def _is_private(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:  # the temporary folder was emptied
        return False
    return status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0
