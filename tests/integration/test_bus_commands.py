"""Commands by request: answered after they were handled, in groups, whatever else is sent there."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from bus_server import BusServer, until

from haulage.domain.commands import PauseOperation, StartOperation
from haulage.domain.errors import NotReachableError, RefusedError
from haulage.infra.nats.command_client import CommandClient
from haulage.infra.nats.commands import CommandService
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import MessageError, Received, Reply


class Intake:
    """A handler that remembers; `first` runs before each group and may raise."""

    def __init__(self, first: Callable[[Sequence[Received]], object] = lambda group: None) -> None:
        self.groups: list[list[Received]] = []
        self._first = first

    def __call__(self, group: Sequence[Received]) -> list[Reply]:
        self.groups.append(list(group))
        self._first(group)
        return [Reply(ok=True, operation=one.command.operation, status="accepted") for one in group]

    @property
    def commands(self) -> list[UUID]:
        return [one.command.command_id for group in self.groups for one in group]


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        yield bus


@pytest.fixture
def serve(bus: Bus) -> Iterator[Callable[..., CommandService]]:
    services: list[CommandService] = []

    def start(handle: Any, on: Bus = bus) -> CommandService:
        service = CommandService(on, handle)
        service.start()
        until(lambda: service._service is not None and service._service.info().endpoints)
        on.call(on.client.flush())
        services.append(service)
        return service

    yield start
    for service in services:
        service.stop(1)


def pause() -> PauseOperation:
    return PauseOperation(command_id=uuid4(), operation=uuid4())


def send(bus: Bus, subject: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bus.call(bus.client.request(subject, body, timeout=5, headers=headers)).data)
    return answer


def test_a_command_is_answered_with_what_the_handler_says(bus: Bus, serve: Any) -> None:
    intake = Intake()
    serve(intake)
    command = StartOperation(command_id=uuid4(), operation=uuid4(), kind="import-users", parameters={"a": [1]})
    reply = CommandClient(bus).request("acme", "ann", command)
    assert reply == Reply(ok=True, operation=command.operation, status="accepted")
    [[received]] = intake.groups
    assert (received.tenant, received.actor, received.verb) == ("acme", "ann", "start")
    assert received.command == command


def test_the_answer_comes_after_the_handler_and_not_before(bus: Bus, serve: Any) -> None:
    may_commit = threading.Event()
    serve(Intake(lambda group: may_commit.wait(20)))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(CommandClient(bus).request, "acme", "ann", pause())
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        may_commit.set()
        assert answer.result(10).ok


def test_commands_that_come_while_one_is_handled_are_the_next_group(bus: Bus, serve: Any) -> None:
    may_commit = threading.Event()
    intake = Intake(lambda group: may_commit.wait(20))
    service = serve(intake)
    client = CommandClient(bus)
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(client.request, "acme", "ann", pause())
        until(lambda: intake.groups)
        others = [pool.submit(client.request, "acme", "ann", pause()) for _ in range(20)]
        until(lambda: len(service._waiting) == 20)
        may_commit.set()
        assert all(answer.result(10).ok for answer in [first, *others])
    assert [len(group) for group in intake.groups] == [1, 20]


def test_a_refusal_is_an_answer_and_is_not_repeated(bus: Bus, serve: Any) -> None:
    def refuse(group: Sequence[Received]) -> list[Reply]:
        raise RefusedError("an operation that is completed can't become pausing")

    intake = Intake(refuse)
    serve(intake)
    reply = CommandClient(bus).request("acme", "ann", pause())
    assert (reply.ok, reply.code) == (False, "refused")
    assert reply.message == "an operation that is completed can't become pausing"
    assert len(intake.groups) == 1


def test_while_the_database_is_away_the_client_repeats_with_the_same_command_id(bus: Bus, serve: Any) -> None:
    def fail_twice(group: Sequence[Received]) -> None:
        if len(intake.groups) <= 2:
            raise NotReachableError("The database is away.")

    intake = Intake(fail_twice)
    serve(intake)
    command = pause()
    assert CommandClient(bus).request("acme", "ann", command).ok
    assert intake.commands == [command.command_id] * 3


def test_when_the_database_stays_away_the_last_answer_says_so(bus: Bus, serve: Any) -> None:
    def fail(group: Sequence[Received]) -> None:
        raise NotReachableError("The database is away.")

    serve(Intake(fail))
    reply = CommandClient(bus).request("acme", "ann", pause(), timeout_seconds=0.3)
    assert (reply.ok, reply.code, reply.message) == (False, "not_reachable", "The database is away.")


def test_one_command_that_breaks_the_handler_costs_its_neighbours_nothing(bus: Bus, serve: Any) -> None:
    poison, gathered = uuid4(), threading.Event()

    def burst(group: Sequence[Received]) -> None:
        gathered.wait(20)
        if any(one.command.command_id == poison for one in group):
            raise ZeroDivisionError

    service = serve(Intake(burst))
    commands = [pause() for _ in range(10)]
    bad = PauseOperation(command_id=poison, operation=uuid4())
    client = CommandClient(bus)
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(client.request, "acme", "ann", pause())
        good = [pool.submit(client.request, "acme", "ann", command) for command in commands]
        broken = pool.submit(client.request, "acme", "ann", bad, 4.0)
        until(lambda: len(service._waiting) >= 10)
        gathered.set()
        assert all(answer.result(10).ok for answer in [first, *good])
        assert broken.result(10).code == "error"


def test_without_anybody_listening_the_client_says_so(bus: Bus) -> None:
    with pytest.raises(NotReachableError, match="Nobody takes commands"):
        CommandClient(bus).request("acme", "ann", pause(), timeout_seconds=0.5)


def test_a_service_that_comes_later_still_answers(bus: Bus, serve: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(CommandClient(bus).request, "acme", "ann", pause(), 20.0)
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        serve(Intake())
        assert answer.result(20).ok


def test_a_lost_answer_is_asked_for_again(bus: Bus, nats_url: str) -> None:
    asked = 0

    async def lose_the_first(msg: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            await msg.respond(Reply(ok=True).to_json())

    with Bus(nats_url) as other:
        other.call(other.subscribe("haulage.v1.command.>", lose_the_first))
        other.call(other.client.flush())
        assert CommandClient(bus).request("acme", "ann", pause()).ok
    assert asked == 2


RUBBISH = [
    (b"", "JSON"),
    (b"\x00" * 1000, "JSON"),
    (b"\xff\xfe{}", "JSON"),
    (b"[" * 500_000, "JSON"),
    (b"x" * 1_000_000, "JSON"),
    (b'{"operation": NaN}', "JSON"),
    (b"[]", "whole body"),
    (b"{}", "command_id"),
    (b'{"command_id": "x", "operation": "y"}', "command_id"),
    (b'{"command_id": "%s", "operation": "%s", "tenant": "evil"}' % ((b"0" * 32,) * 2), "tenant"),
    (b'{"command_id": "%s", "operation": "%s", "reason": "a\\u0000b"}' % ((b"0" * 32,) * 2), "NUL"),
    (b'{"command_id": "%s", "operation": "%s", "reason": "%s"}' % (b"0" * 32, b"0" * 32, b"a" * 501), "reason"),
]


@pytest.mark.parametrize(("body", "named"), RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_answered_with_what_is_wrong_with_it(bus: Bus, serve: Any, body: bytes, named: str) -> None:
    intake = Intake()
    serve(intake)
    answer = send(bus, "haulage.v1.command.acme.ann.pause", body)
    assert (answer["ok"], answer["code"]) == (False, "invalid")
    assert named in answer["message"]
    assert len(answer["message"]) < 1000
    assert not intake.groups
    assert CommandClient(bus).request("acme", "ann", pause()).ok


def publish_raw(url: str, subject: bytes, head: bytes | None, body: bytes) -> None:
    """What no client library would send."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as connection:
        connection.makefile("rb").readline()
        options = {"verbose": False, "headers": True, "auth_token": parts.username}
        connection.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        if head is None:
            message = b"PUB %s %d\r\n%s\r\n" % (subject, len(body), body)
        else:
            message = b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(head), len(head) + len(body), head, body)
        connection.sendall(message + b"PING\r\n")
        answer = b""
        while b"PONG" not in answer and b"-ERR" not in answer:
            answer += connection.recv(4096)


@pytest.mark.parametrize(
    ("subject", "head"),
    [
        (b"acme.ann.pause", b"NATS/1.0"),
        (b"acme.ann.pause", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
        (b"acme.ann.pause", b"NATS/1.0 503 \xff\r\n\r\n"),
        (b"acme.ann.pause", b"\x00" * 100),
        (b"acme.ann.pause", b"NATS/1.0\r\n: :\r\n\xff\xfe: \xff\r\nno colon\r\n\r\n"),
        (b"acme.ann.pause", b"NATS/1.0\r\n" + b"a: b\r\n" * 50_000 + b"\r\n"),
        (b"\xff\xfe.ann.pause", None),
        (b"acme.\x00.pause", None),
        (b"acme.ann.\x0b", None),
        (b"acme.ann.a\x0bb", None),
        (b"acme.ann.\x0c", b"NATS/1.0\r\na: b\r\n\r\n"),
        (b"acme.ann.pause", b"NATS/1.0\r\nStatus: 503\r\n\r\n"),
    ],
    ids=range(12),
)
def test_a_message_no_library_would_send_does_not_stop_the_service(
    bus: Bus, serve: Any, nats_url: str, subject: bytes, head: bytes | None
) -> None:
    serve(Intake())
    publish_raw(nats_url, b"haulage.v1.command." + subject, head, b"x")
    assert CommandClient(bus).request("acme", "ann", pause(), timeout_seconds=3).ok
    assert bus.connections == 1


@pytest.mark.parametrize("subject", ["Acme.ann.pause", "acme.a,b.pause", "acme.ann.explode", f"{'a' * 64}.ann.pause"])
def test_a_subject_outside_the_alphabet_or_an_unknown_verb_is_refused(bus: Bus, serve: Any, subject: str) -> None:
    serve(Intake())
    answer = send(bus, f"haulage.v1.command.{subject}", pause().model_dump_json().encode())
    assert (answer["ok"], answer["code"]) == (False, "invalid")


def test_an_answer_is_never_published_where_only_we_may(bus: Bus, serve: Any) -> None:
    intake = Intake()
    serve(intake)
    heard: list[bytes] = []

    async def hear(msg: Any) -> None:
        heard.append(msg.data)

    bus.call(bus.subscribe("haulage.v1.command.other.admin.cancel.x", hear))
    body = pause().model_dump_json().encode()
    for reply in ("haulage.v1.command.other.admin.cancel.x", "$JS.API.STREAM.PURGE.haulage-events"):
        bus.call(bus.client.publish("haulage.v1.command.acme.ann.pause", body, reply=reply))
    assert CommandClient(bus).request("acme", "ann", pause()).ok
    until(lambda: len(intake.commands) == 3)
    assert heard == []


def test_the_trace_context_comes_back_with_the_answer(bus: Bus, serve: Any) -> None:
    intake = Intake()
    serve(intake)
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    request = bus.client.request(
        "haulage.v1.command.acme.ann.pause", pause().model_dump_json().encode(), timeout=5, headers=trace
    )
    assert bus.call(request).headers == trace
    assert intake.groups[0][0].headers == trace


def test_a_command_too_large_for_the_server_is_refused_and_the_connection_lives(bus: Bus) -> None:
    huge = StartOperation(
        command_id=uuid4(), operation=uuid4(), kind="x", parameters={"a": "x" * bus.client.max_payload}
    )
    with pytest.raises(MessageError, match="bytes"):
        CommandClient(bus).request("acme", "ann", huge)
    assert bus.connections == 1


def test_a_stop_answers_what_was_taken_and_takes_no_more(bus: Bus, serve: Any) -> None:
    may_commit = threading.Event()
    intake = Intake(lambda group: may_commit.wait(20))
    service = serve(intake)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(CommandClient(bus).request, "acme", "ann", pause()) for _ in range(2)]
        until(lambda: len(intake.commands) + len(service._waiting) == 2)
        stopping = pool.submit(service.stop)
        until(lambda: service._service is None)
        may_commit.set()
        stopping.result(10)
        assert all(answer.result(10).ok for answer in answers)
    with pytest.raises(NotReachableError, match="Nobody"):
        CommandClient(bus).request("acme", "ann", pause(), timeout_seconds=0.3)


def test_commands_sent_while_the_server_is_killed_again_and_again_are_all_answered(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats").start()
    intake = Intake()
    try:
        with Bus(server.url) as bus, Bus(server.url) as other, ThreadPoolExecutor(4) as pool:
            service = CommandService(other, intake)
            service.start()
            stop = threading.Event()

            def work() -> list[tuple[UUID, bool]]:
                done = []
                while not stop.is_set():
                    command = pause()
                    done.append((command.command_id, CommandClient(bus).request("acme", "ann", command).ok))
                return done

            working = [pool.submit(work) for _ in range(4)]
            for _ in range(3):
                handled = len(intake.commands)
                until(lambda handled=handled: len(intake.commands) > handled + 20)  # type: ignore[misc]
                server.kill()
                server.start()
            stop.set()
            answered = [one for worker in working for one in worker.result(40)]
            service.stop()
        assert all(ok for _, ok in answered)
        assert {command for command, _ in answered} <= set(intake.commands)
    finally:
        server.kill()


def test_too_many_that_wait_are_told_to_come_again(bus: Bus, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haulage.infra.nats.commands.WAITING_LIMIT", 3)
    may_commit = threading.Event()
    intake = Intake(lambda group: may_commit.wait(20))
    service = serve(intake)
    with ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(CommandClient(bus).request, "acme", "ann", pause()) for _ in range(4)]
        until(lambda: len(service._waiting) == 3)
        answer = send(bus, "haulage.v1.command.acme.ann.pause", pause().model_dump_json().encode())
        may_commit.set()
        assert all(one.result(10).ok for one in taken)
    assert (answer["ok"], answer["code"]) == (False, "busy")


def test_the_service_is_found_by_the_tools_of_nats(bus: Bus, serve: Any) -> None:
    serve(Intake())
    info = send(bus, "$SRV.INFO.haulage-commands", b"")
    assert info["endpoints"][0]["subject"] == "haulage.v1.command.*.*.*"
