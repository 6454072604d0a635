"""F1, F2, F4, F5, F10: whatever is frozen, or killed with -9, every item ends up with one outcome and one effect."""

import json
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from real_system import RealSystem, a_real_system, wait_for, write_users

Fault = Callable[[RealSystem], None]


def kill_all(system: RealSystem) -> None:
    """Every process of Haulage's own, and then `haulage up` again."""
    assert system.kill_everything() >= 4
    system.up()


def kill_a_worker(system: RealSystem) -> None:
    """One of the workers; the supervisor starts another."""
    worker = next(process for process in system.processes() if "worker" in process.cmdline())
    worker.kill()


def kill_postgres(system: RealSystem) -> None:
    """The postmaster."""
    os.kill(system.server_pid("postgres"), signal.SIGKILL)


def kill_nats(system: RealSystem) -> None:
    """The NATS server."""
    os.kill(system.server_pid("nats"), signal.SIGKILL)


def import_under(system: RealSystem, folder: Path, rows: int, fault: Fault, times: int) -> str:
    """Import `rows` users; at equal distances, let the fault happen so many times. The operation, ended."""
    system.up()
    system.run("directory", "organization", "create", "acme")
    path = write_users(folder / "users.csv", rows)
    started = system.run("run", "import-users", "--input", str(path), "-p", "organization=acme", "--detach", "--json")
    operation = str(json.loads(started.stdout)["operation"])
    for turn in range(1, times + 1):
        part = rows * turn // (times + 1)
        wait_for(lambda part=part: system.applied(operation) >= part, f"{part} items")
        fault(system)
    wait_for(lambda: system.applied(operation) == rows, "all items")
    wait_for(lambda: ended(system, operation), "the end")
    return operation


def ended(system: RealSystem, operation: str) -> bool:
    shown = system.run("show", operation, "--json", check=False)
    return shown.returncode == 0 and json.loads(shown.stdout)["status"] == "completed"


def check_nothing_lost_nothing_twice(system: RealSystem, operation: str, rows: int) -> None:
    ((users, emails, members),) = system.query(
        """select count(*), count(distinct lower(email)),
            (select count(*) from directory.memberships) from directory.users"""
    )
    assert (users, emails, members) == (rows, rows, rows)
    chunks = system.query(
        """select convert_from(state, 'UTF8')::jsonb -> 'data' from haulage.events where topic = 'chunk.applied.v1'"""
    )
    ranges = sorted((data["first"], data["last"]) for (data,) in chunks)
    assert ranges[0][0] == 1
    assert ranges[-1][1] == rows
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
    ((ends,),) = system.query("select count(*) from haulage.events where topic = 'operation.completed.v1'")
    assert ends == 1
    wait_for(
        lambda: (
            system.query("select coalesce(sum(succeeded), 0) from haulage.ledger where operation = %s", operation)
            == [(rows,)]
        ),
        "the ledger",
    )
    assert system.query("select count(*) from haulage.work") == [(0,)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [kill_all, kill_a_worker, kill_postgres, kill_nats], ids=lambda f: f.__name__)
def test_nothing_is_lost_and_nothing_done_twice(tmp_path: Path, fault: Fault) -> None:
    with a_real_system(tmp_path) as system:
        operation = import_under(system, tmp_path, 40_000, fault, 1)
        check_nothing_lost_nothing_twice(system, operation, 40_000)


@pytest.mark.timeout(300)
def test_a_worker_frozen_past_its_lease_is_refused_when_it_thaws(tmp_path: Path) -> None:
    with a_real_system(tmp_path, HAULAGE_LEASE_SECONDS="2") as system:
        frozen: list[psutil.Process] = []

        def freeze(_: RealSystem) -> None:
            frozen.append(next(process for process in system.processes() if "worker" in process.cmdline()))
            frozen[0].suspend()

        operation = import_under(system, tmp_path, 40_000, freeze, 1)
        before = set(system.sessions_begun())
        frozen[0].resume()
        wait_for(lambda: set(system.sessions_begun()) - before, "the thawed worker to begin a new session")
        check_nothing_lost_nothing_twice(system, operation, 40_000)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", [kill_all, kill_postgres, kill_nats], ids=lambda f: f.__name__)
def test_300_000_rows_survive_three_kills(tmp_path: Path, fault: Fault) -> None:
    with a_real_system(tmp_path) as system:
        operation = import_under(system, tmp_path, 300_000, fault, 3)
        check_nothing_lost_nothing_twice(system, operation, 300_000)
