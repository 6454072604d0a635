"""Haulage as its users run it: real processes in a home of their own, to be killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

HAULAGE = [sys.executable, "-m", "haulage"]
PATIENCE_SECONDS = 120.0


class RealSystem:
    """A home, `haulage up` in it, and what can be asked from outside."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HAULAGE_")}
        self.environment |= {"HAULAGE_HOME": str(home), "HAULAGE_WORKERS": "2"} | settings
        self._up: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            [*HAULAGE, *arguments], env=self.environment, capture_output=True, text=True, check=check, timeout=180
        )

    def up(self) -> None:
        """Start `haulage up` and wait until the control process answers."""
        log = (self.home.parent / "up.log").open("ab")
        self._up = subprocess.Popen([*HAULAGE, "up"], env=self.environment, stdout=log, stderr=log)
        wait_for(lambda: len(self.sessions()) >= 3, "haulage up")

    def processes(self) -> list[psutil.Process]:
        """Everything of Haulage's own that runs in this home, servers aside."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("HAULAGE_HOME") == str(self.home)
                if ours and "haulage" in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_everything(self) -> int:
        """`kill -9` every process of Haulage's own at once; how many that were."""
        victims = self.processes()
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)
        if self._up is not None:
            self._up.wait()
            self._up = None
        return len(victims)

    def server_pid(self, name: str) -> int:
        """The process of an embedded server: `postgres` or `nats`."""
        return int(self.status()[name]["pid"])

    def status(self) -> dict[str, Any]:
        """`haulage status --json`."""
        return dict(json.loads(self.run("status", "--json").stdout))

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database, as a person with the URL of `haulage status --json` could; psycopg's errors, where away."""
        try:
            with psycopg.connect(self._url or "") as connection:
                return connection.execute(statement, parameters).fetchall()
        except psycopg.OperationalError:
            # Asked for only then: a server keeps its port where it can, and each command costs half a second.
            self._url = self.status()["postgres"]["url"]
            raise

    def sessions(self) -> list[str]:
        """The roles of the living sessions; none while the database is away."""
        try:
            rows = self.query(
                """select role from haulage.sessions
                where session not in (select session from haulage.dead_sessions())"""
            )
        except psycopg.Error:
            return []
        return [role for (role,) in rows]

    def sessions_begun(self) -> list[str]:
        """The ids of the sessions there are."""
        return [str(session) for (session,) in self.query("select session from haulage.sessions")]

    def applied(self, operation: str) -> int:
        """How many items of the operation have their outcome in the log; 0 while the database is away."""
        try:
            rows = self.query(
                """select coalesce(sum((convert_from(state, 'UTF8')::jsonb -> 'data' ->> 'last')::int
                    - (convert_from(state, 'UTF8')::jsonb -> 'data' ->> 'first')::int + 1), 0)
                from haulage.events where topic = 'chunk.applied.v1'
                and convert_from(state, 'UTF8')::jsonb ->> 'operation' = %s""",
                operation,
            )
        except psycopg.Error:
            return 0
        return int(rows[0][0])

    def end(self) -> None:
        """Stop what runs, and the servers."""
        if self._up is not None:
            self._up.terminate()
            self._up.wait(60)
        self.kill_everything()
        self.run("down", "--force", check=False)


@contextmanager
def a_real_system(folder: Path, **settings: str) -> Iterator[RealSystem]:
    """A system in a fresh home, not started."""
    system = RealSystem(folder / "home", settings)
    try:
        yield system
    finally:
        system.end()


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until it is so; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} seconds in vain for {what}"
        time.sleep(0.05)


def write_users(path: Path, rows: int) -> Path:
    """An input without bad rows."""
    with path.open("w", encoding="utf-8") as file:
        file.write("email,name,role\n")
        file.writelines(f"user{n}@example.org,User {n},member\n" for n in range(rows))
    return path
