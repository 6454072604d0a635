"""The whole system, seen from the bus: the example in examples/, and what it shows."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from bus_server import until
from nats.js.errors import KeyNotFoundError

from haulage.domain.commands import Input, StartOperation
from haulage.domain.errors import NotFoundError
from haulage.infra.nats.command_client import CommandClient
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.objects import InputObjects
from haulage.infra.nats.queries import EventsQuery, HistoryQuery, ItemQuery, ShowQuery
from haulage.infra.nats.query_client import QueryClient
from haulage.infra.nats.streams import PROGRESS_BUCKET
from haulage.infra.nats.submission_client import SubmissionClient

EXAMPLE = Path(__file__).parents[2] / "examples" / "subscriber.py"


@dataclass(frozen=True)
class Up:
    """Everything running in a home of its own."""

    folder: Path
    nats_url: str

    def users(self, name: str) -> Path:
        """A file of three users, of whom one is no good."""
        path = self.folder / f"{name}.csv"
        path.write_text(
            f"email,name,role\na.{name}@example.org,A,member\nnonsense,B,member\nc.{name}@example.org,C,owner\n"
        )
        return path


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    environment = os.environ | {"HAULAGE_HOME": str(folder / "home"), "HAULAGE_WORKERS": "1"}
    haulage = [sys.executable, "-m", "haulage"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*haulage, "up"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
    try:
        until(lambda: "Haulage is up" in (folder / "log").read_text(), 60)
        status = subprocess.run([*haulage, "status", "--json"], env=environment, check=True, capture_output=True)
        create = [*haulage, "directory", "organization", "create", "acme"]
        subprocess.run(create, env=environment, check=True, capture_output=True)
        yield Up(folder, json.loads(status.stdout)["nats"]["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def bus(up: Up) -> Iterator[Bus]:
    with Bus(up.nats_url) as bus:
        yield bus


def shown_when_ended(bus: Bus, operation: UUID) -> Any:
    """What `query.show` says at the end."""
    client = QueryClient(bus)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            shown = client.ask("default", "ann", ShowQuery(operation=operation))
        except NotFoundError:
            continue
        if shown["ended_at"]:
            return shown
    raise AssertionError("it did not end")


def start(up: Up, name: str, **changes: Any) -> StartOperation:
    fields = {"kind": "import-users", "parameters": {"organization": "acme"}, "input": Input(path=str(up.users(name)))}
    return StartOperation(command_id=uuid4(), operation=uuid4(), **(fields | changes))


def test_the_example_starts_an_import_and_prints_its_completion(up: Up) -> None:
    command = [sys.executable, str(EXAMPLE), str(up.users("example")), "acme", up.nats_url]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    event = json.loads(ended.stdout)
    assert event["topic"] == "operation.completed.v1"
    assert event["data"]["counts"] == {"succeeded": 2, "skipped": 0, "rejected": 1}


def test_the_example_says_why_it_was_refused(up: Up) -> None:
    command = [sys.executable, str(EXAMPLE), str(up.users("refused")), "nobody", up.nats_url]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "nobody" in ended.stderr


def test_the_same_command_twice_is_one_operation_with_one_end(up: Up, bus: Bus) -> None:
    command, client = start(up, "twice"), CommandClient(bus)
    replies = [client.request("default", "ann", command) for _ in range(2)]
    assert replies[0] == replies[1]
    assert replies[0].operation == command.operation
    assert shown_when_ended(bus, command.operation)["items"]["rejected"] == 1
    history = QueryClient(bus).ask("default", "ann", HistoryQuery(operation=command.operation))["events"]
    assert [one["topic"] for one in history].count("operation.completed.v1") == 1


def test_a_submission_is_carried_out_and_may_be_repeated_by_request(up: Up, bus: Bus) -> None:
    command = start(up, "submitted")
    SubmissionClient(bus).submit("default", "ann", command)
    assert shown_when_ended(bus, command.operation)["status"] == "completed_with_rejects"
    assert CommandClient(bus).request("default", "ann", command).operation == command.operation


def test_an_input_comes_through_the_object_store(up: Up, bus: Bus) -> None:
    name = InputObjects(bus).upload(up.users("uploaded"))
    command = start(up, "uploaded", input=Input(object=name))
    assert CommandClient(bus).request("default", "ann", command).ok
    assert shown_when_ended(bus, command.operation)["items"]["succeeded"] == 2


def test_events_progress_and_answers_agree(up: Up, bus: Bus) -> None:
    command = start(up, "agree")
    assert CommandClient(bus).request("default", "ann", command).ok
    shown = shown_when_ended(bus, command.operation)

    async def published() -> list[str]:
        subject = f"haulage.v1.event.default.import-users.{command.operation}.>"
        events = await bus.jetstream.subscribe(subject, stream="haulage-events", ordered_consumer=True)
        found: list[str] = []
        while not found or found[-1] != "operation.completed.v1":
            found.append((await events.next_msg(10)).headers["ce-type"])
        return found

    client = QueryClient(bus)
    logged: list[str] = []
    after, end = "0", False
    while not end:
        page = client.ask("default", "ann", EventsQuery(after=after))
        logged += [one["topic"] for one in page["events"] if one["operation"] == str(command.operation)]
        after, end = page["next"], page["end"]
    assert bus.call(published()) == logged
    assert "chunk.applied.v1" in logged
    bucket = bus.call(bus.jetstream.key_value(PROGRESS_BUCKET))

    def latest() -> Any:
        try:
            return json.loads(bus.call(bucket.get(f"default.{command.operation}")).value or b"")
        except KeyNotFoundError:  # progress follows within a quarter of a second
            return {}

    until(lambda: latest().get("status") == shown["status"])
    assert latest()["items"] == shown["items"]
    outcomes = [
        client.ask("default", "ann", ItemQuery(operation=command.operation, ordinal=ordinal))["outcomes"][0]["outcome"]
        for ordinal in (1, 2, 3)
    ]
    assert outcomes == ["succeeded", "rejected", "succeeded"]
