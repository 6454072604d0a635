"""The command line as people use it: whole commands, in processes of their own, on servers of their own."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from haulage.infra.cli.app import app
from haulage.infra.cli.demo_file import write_demo_file
from haulage.infra.cli.failures import guard
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings

ROWS = 5_000
BAD = 25

USERS = "email,name,role\nann@example.org,Ann,member\nnot an address,Bob,member\ncid@example.org,Cid,owner\n"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class CommandLine:
    """Commands in one home. Calling it runs one in this process, which is quicker; `start` gives it its own."""

    home: Path

    def environment(self, changes: dict[str, str]) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("HAULAGE_")}
        return others | {"HAULAGE_HOME": str(self.home), "HAULAGE_WORKERS": "1"} | changes

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "haulage", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home.parent,
            env=self.environment({}),
        )

    def __call__(self, *arguments: object, **changes: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment(changes), clear=True),
            patch.object(sys, "argv", ["haulage", *map(str, arguments)]),
            contextlib.chdir(self.home.parent),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = guard(app)
        assert "Traceback" not in err.getvalue()
        return Ended(code, out.getvalue(), err.getvalue())

    def file(self, name: str, content: str) -> Path:
        path = self.home.parent / name
        path.write_text(content)
        return path


@pytest.fixture(scope="module")
def haulage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line where everything is up, and the organization `acme` is there."""
    home = tmp_path_factory.mktemp("up") / "home"
    command_line = CommandLine(home)
    up = command_line.start("up")
    try:
        assert "Haulage is up" in (up.stdout.readline() if up.stdout else "")
        assert command_line("directory", "organization", "create", "acme").code == 0
        yield command_line
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=60)
    assert up.returncode == 0


@pytest.fixture(scope="module")
def demo(haulage: CommandLine) -> dict[str, Any]:
    """What `haulage demo --json` printed."""
    process = haulage.start("demo", "--rows", ROWS, "--json")
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def test_the_demo_imports_what_is_good_and_keeps_what_is_bad(haulage: CommandLine, demo: dict[str, Any]) -> None:
    assert demo["kind"] == "import-users"
    assert demo["status"] == "completed_with_rejects"
    assert demo["items"] == {"total": ROWS, "succeeded": ROWS - BAD, "skipped": 0, "rejected": BAD}
    with Path(demo["rejects_file"]).open(newline="") as file:
        rejects = list(csv.DictReader(file))
    assert len(rejects) == BAD
    assert all(row["code"] and row["message"] and row["name"] for row in rejects)
    members = {one["slug"]: one["members"] for one in haulage("directory", "organization", "list", "--json").lines}
    assert members["demo"] == ROWS - BAD


def test_the_demo_works_again_and_says_what_to_try_next(haulage: CommandLine, demo: dict[str, Any]) -> None:
    again = haulage("demo", "--rows", 200)
    assert again.code == 0
    assert "`demo-2`" in again.err
    tries = [line.split("  ")[1].split()[1:] for line in again.err.partition("Try next:\n")[2].splitlines()]
    assert [words[0] for words in tries] == ["show", "history", "item"]
    for words in tries:
        assert haulage(*words[:3] if words[0] == "item" else words[:2]).code == 0


def test_an_operation_can_be_named_by_its_beginning(haulage: CommandLine, demo: dict[str, Any]) -> None:
    shown = haulage("show", demo["operation"][:13], "--json").json
    assert shown["operation"] == demo["operation"]
    assert shown["items"]["rejected"] == BAD
    assert shown["parameters"] == {"organization": "demo"}
    assert haulage("show", "ffffffff").code == 7
    assert haulage("show", "abc").code == 2


def test_the_history_tells_every_event_in_the_order_of_the_log(haulage: CommandLine, demo: dict[str, Any]) -> None:
    events = haulage("history", demo["operation"], "--json").lines
    positions = [int(event["position"]) for event in events]
    assert positions == sorted(set(positions))
    assert events[0]["topic"] == "operation.requested.v1"
    assert events[-1]["topic"] == "operation.completed.v1"
    applied = [event["data"] for event in events if event["topic"] == "chunk.applied.v1"]
    assert sorted(n for chunk in applied for n in range(chunk["first"], chunk["last"] + 1)) == list(range(1, ROWS + 1))
    short = haulage("history", demo["operation"], "--json", "--no-chunks").lines
    assert {event["stream"] for event in short} == {demo["operation"]}


def test_the_history_knows_the_state_as_it_was(haulage: CommandLine, demo: dict[str, Any]) -> None:
    operation = demo["operation"]
    stream = haulage("history", operation, "--json", "--no-chunks").lines
    assert haulage("history", operation, "--at", "1", "--json").json["status"] == "requested"
    running = next(event for event in stream if event["topic"] == "operation.step_started.v1")
    assert haulage("history", operation, "--at", running["version"], "--json").json["status"] == "running"
    assert haulage("history", operation, "--at", stream[-1]["at"], "--json").json["items"]["rejected"] == BAD
    assert haulage("history", operation, "--at", "2001-01-01").code == 2
    assert haulage("history", operation, "--at", "999").code == 7


def test_an_item_tells_why_it_was_rejected_and_what_it_was(haulage: CommandLine, demo: dict[str, Any]) -> None:
    operation = demo["operation"]
    with Path(demo["rejects_file"]).open(newline="") as file:
        reject = next(csv.DictReader(file))
    found = haulage("item", operation, int(reject["row"]) - 1, "--json").json
    assert found["row"] == int(reject["row"])
    assert [(o["outcome"], o["code"], o["message"]) for o in found["outcomes"]] == [
        ("rejected", reject["code"], reject["message"])
    ]
    assert found["item"]["external_id"] == reject["external_id"]
    assert haulage("item", operation, 1, "--json").json["outcomes"][0]["outcome"] == "succeeded"
    assert haulage("item", operation, ROWS + 1).code == 7


def test_rejects_can_be_written_anywhere_and_in_both_formats(haulage: CommandLine, demo: dict[str, Any]) -> None:
    file = haulage.home.parent / "rejects.ndjson"
    written = haulage("rejects", demo["operation"], "--output", file, "--json").json
    assert written["rejects"] == BAD == sum(written["codes"].values())
    assert len(file.read_text().splitlines()) == BAD
    assert haulage("rejects", demo["operation"], "--output", haulage.home.parent / "no" / "where.csv").code == 1


def test_the_list_is_filtered_and_paged(haulage: CommandLine, demo: dict[str, Any]) -> None:
    haulage("run", "import-users", "--input", haulage.file("e.csv", USERS), "-p", "organization=acme", "--tenant", "t2")
    everything = [one["operation"] for one in haulage("list", "--json").lines]
    first = haulage("list", "--json", "--limit", 1).lines[0]["operation"]
    others = haulage("list", "--json", "--after", first).lines
    assert [first, *(one["operation"] for one in others)] == everything
    assert {one["tenant"] for one in haulage("list", "--json", "--tenant", "t2").lines} == {"t2"}
    assert haulage("list", "--json", "--status", "failed").out.count('"status": "completed"') == 0
    assert haulage("list", "--json", "--since", "2100-01-01").out == ""
    assert haulage("list", "--status", "odd").code == 2


def test_a_run_prints_one_object_and_ends_with_its_code(haulage: CommandLine) -> None:
    ended = haulage("run", "import-users", "-i", haulage.file("u.csv", USERS), "-p", "organization=acme", "--json")
    assert ended.code == 4
    assert list(ended.json) == ["operation", "kind", "status", "items", "rejects_file", "seconds"]
    assert ended.json["items"]["rejected"] >= 1
    assert "\x1b" not in ended.err


def test_the_same_key_is_the_same_operation_and_other_parameters_are_refused(haulage: CommandLine) -> None:
    file = haulage.file("k.csv", "email,name,role\nkey@example.org,Key,viewer\n")
    first = haulage("run", "import-users", "-i", file, "-p", "organization=acme", "--key", "k1", "--json")
    again = haulage("run", "import-users", "-i", file, "-p", "organization=acme", "--key", "k1", "--json")
    assert (first.code, again.code) == (0, 0)
    assert first.json == again.json
    other = ["-p", "organization=acme", "-p", "on_conflict=skip", "--key", "k1"]
    assert haulage("run", "import-users", "-i", file, *other).code == 7


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "no-such-kind"], 7, "import-users"),
        (["run", "import-users", "-i", "nowhere.csv", "-p", "organization=acme"], 7, "no file"),
        (["run", "import-users", "-i", ".", "-p", "organization=acme"], 7, "directory"),
        (["run", "import-users", "-p", "organization=acme"], 7, "--input"),
        (["run", "import-users", "-i", "good.csv", "-p", "organization=nobody"], 7, "nobody"),
        (["run", "import-users", "-i", "good.csv", "-p", "organization=5"], 7, "organization"),
        (["run", "import-users", "-i", "good.csv", "-p", "organization"], 2, "NAME=VALUE"),
        (["run", "import-users", "-i", "empty.csv", "-p", "organization=acme"], 3, "empty"),
        (["run", "import-users", "-i", "header.csv", "-p", "organization=acme"], 3, "email"),
        (["run", "import-users", "-i", "odd.xyz", "-p", "organization=acme"], 3, "csv"),
        (["run"], 2, "KIND"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_bad_input_gets_a_sentence_and_its_code(
    haulage: CommandLine, arguments: list[str], code: int, says: str
) -> None:
    haulage.file("good.csv", USERS)
    haulage.file("empty.csv", "")
    haulage.file("header.csv", "mail,name,role\na@example.org,A,member\n")
    haulage.file("odd.xyz", USERS)
    ended = haulage(*arguments)
    assert ended.code == code, ended.err
    assert says in ended.err + ended.out


def test_detached_runs_are_found_again(haulage: CommandLine) -> None:
    file = haulage.file("d.csv", "email,name,role\ndetached@example.org,D,viewer\n")
    operation = haulage("run", "import-users", "-i", file, "-p", "organization=acme", "--detach").out.strip()
    watched = haulage("watch", operation, "--json")
    assert watched.code == 0
    assert watched.json["operation"] == operation


def test_from_elsewhere_the_file_is_handed_over_through_nats(haulage: CommandLine) -> None:
    status = haulage("status", "--json").json
    elsewhere = {
        "HAULAGE_POSTGRES_URL": status["postgres"]["url"],
        "HAULAGE_NATS_URL": status["nats"]["url"],
        "HAULAGE_HOME": str(haulage.home.parent / "elsewhere"),
    }
    file = haulage.file("x.csv", "email,name,role\nelsewhere@example.org,E,viewer\nno address,F,viewer\n")
    ended = haulage("run", "import-users", "-i", file, "-p", "organization=acme", "--json", **elsewhere)
    assert ended.code == 4, ended.err
    assert Path(ended.json["rejects_file"]).is_relative_to(haulage.home.parent / "elsewhere")
    assert "object" in haulage("show", ended.json["operation"], "--json").json["input"]


def test_a_time_out_ends_the_following_and_not_the_operation(haulage: CommandLine) -> None:
    file = write_demo_file(haulage.home.parent / "slow.csv", 60_000, "slow.example").path
    ended = haulage("run", "import-users", "-i", file, "-p", "organization=acme", "--time-out", 0, "--json")
    assert ended.code == 6
    assert "haulage watch" in ended.err
    assert haulage("watch", ended.json["operation"]).code == 4


def test_an_operation_is_paused_and_then_rolled_back(haulage: CommandLine, tmp_path: Path) -> None:
    write_demo_file(tmp_path / "many.csv", 60_000, "many.example")
    before = {one["slug"]: one["members"] for one in haulage("directory", "organization", "list", "--json").lines}
    started = haulage(
        "run", "import-users", "--input", tmp_path / "many.csv", "-p", "organization=acme", "--detach", "--json"
    )
    assert started.code == 0, started.err
    operation = started.json["operation"]
    while haulage("show", operation, "--json").json["items"]["done"] == 0:
        assert haulage("show", operation, "--json").json["ended_at"] is None
    paused = haulage("pause", operation, "--reason", "lunch", "--json")
    assert (paused.code, paused.json["status"]) == (0, "paused")
    assert haulage("close", operation, "--reason", "too early").code == 7
    rolled_back = haulage("roll-back", operation, "--reason", "wrong file", "--json")
    assert (rolled_back.code, rolled_back.json) == (0, {"operation": operation, "status": "rolled_back", "left": 0})
    after = {one["slug"]: one["members"] for one in haulage("directory", "organization", "list", "--json").lines}
    assert after == before
    reasons = [event["data"].get("reason") for event in haulage("history", operation, "--no-chunks", "--json").lines]
    assert [reason for reason in reasons if reason] == ["lunch", "wrong file"]
    assert haulage("cancel", operation).code == 7


def test_status_prints_urls_that_can_be_used(haulage: CommandLine) -> None:
    import psycopg

    status = haulage("status", "--json").json
    assert status["up"] is True
    assert {process["role"] for process in status["processes"]} == {"control", "worker"}
    with psycopg.connect(status["postgres"]["url"]) as connection:
        assert connection.execute("select count(*) from haulage.events").fetchone() != (0,)
    password = status["postgres"]["url"].split(":")[2].split("@")[0]
    assert password not in haulage("status").out


def test_the_doctor_finds_nothing_wrong_and_views_can_be_rebuilt(haulage: CommandLine, demo: dict[str, Any]) -> None:
    before = haulage("show", demo["operation"], "--json").json
    assert haulage("projections", "rebuild", "progress").code == 0
    assert haulage("show", demo["operation"], "--json").json == before
    assert haulage("doctor", "--json").json["ok"] is True


def test_what_reads_from_us_may_stop_at_any_time(haulage: CommandLine, demo: dict[str, Any]) -> None:
    process = haulage.start("history", demo["operation"], "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.wait(30)


# -- where nothing is up -----------------------------------------------------------------------------------------------
@pytest.fixture
def alone(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line in a home that does not exist yet; what it leaves running is stopped."""
    yield CommandLine(tmp_path / "home")
    Servers(Settings(home=tmp_path / "home")).stop(force=True)


def test_questions_make_no_home(alone: CommandLine) -> None:
    answers = [alone(*command) for command in (["list"], ["status"], ["doctor"], ["show", "last"], ["down"])]
    assert [answer.code for answer in answers] == [0, 0, 0, 7, 0]
    assert not alone.home.exists()


def test_a_detached_run_needs_somebody_to_do_it(alone: CommandLine) -> None:
    file = alone.file("u.csv", USERS)
    ended = alone("run", "import-users", "-i", file, "-p", "organization=acme", "--detach")
    assert ended.code == 8
    assert "haulage up" in ended.err
    assert not alone.home.exists()


def test_servers_that_are_not_there_are_not_reachable(alone: CommandLine) -> None:
    away = {
        "HAULAGE_POSTGRES_URL": "postgresql://haulage:secret@127.0.0.1:1/haulage",
        "HAULAGE_NATS_URL": "nats://secret@127.0.0.1:1",
    }
    for command in (["list"], ["run", "import-users", "-p", "organization=acme"]):
        ended = alone(*command, **away)
        assert ended.code == 8
        assert "secret" not in ended.err


def test_ctrl_c_leaves_an_operation_that_can_be_resumed(alone: CommandLine, tmp_path: Path) -> None:
    assert alone("directory", "organization", "create", "acme").code == 0
    file = write_demo_file(tmp_path / "many.csv", 100_000, "acme.example").path
    process = alone.start("run", "import-users", "-i", file, "-p", "organization=acme")
    assert process.stderr is not None
    read_until(process.stderr.readline, "running")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "haulage resume" in err
    resumed = alone("resume", "--json")
    assert resumed.code == 4, resumed.err
    assert resumed.json["items"] == {"total": 100_000, "succeeded": 99_500, "skipped": 0, "rejected": 500}


def read_until(readline: Callable[[], str], word: str) -> None:
    deadline = time.monotonic() + 60
    while word not in (line := readline()):
        assert line, f"it ended without saying {word}"
        assert time.monotonic() < deadline
