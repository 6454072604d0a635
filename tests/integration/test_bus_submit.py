"""Submissions: nothing is taken out of the stream before it was handled, and rubbish is kept for a look."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from bus_server import BusServer, until
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from haulage.domain.commands import PauseOperation
from haulage.domain.errors import NotReachableError, RefusedError
from haulage.infra.nats import submit
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import Received, Reply
from haulage.infra.nats.streams import QUARANTINE, SUBMISSIONS, Streams
from haulage.infra.nats.submission_client import SubmissionClient
from haulage.infra.nats.submit import SubmissionReader


class Intake:
    """A handler that remembers; `first` runs before each group and may raise."""

    def __init__(self, first: Callable[[Sequence[Received]], object] = lambda group: None) -> None:
        self.groups: list[list[UUID]] = []
        self._first = first

    def __call__(self, group: Sequence[Received]) -> list[Reply]:
        self.groups.append([one.command.command_id for one in group])
        self._first(group)
        return [Reply(ok=True, operation=one.command.operation, status="accepted") for one in group]


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        Streams(bus).keep()
        yield bus


def reader(bus: Bus, intake: Any) -> SubmissionReader:
    return SubmissionReader(bus, Streams(bus), intake, wait_seconds=0.2)


def pause() -> PauseOperation:
    return PauseOperation(command_id=uuid4(), operation=uuid4())


def waiting(bus: Bus) -> int:
    return bus.call(bus.jetstream.stream_info(SUBMISSIONS)).state.messages


def quarantined(bus: Bus) -> list[tuple[bytes, dict[str, str]]]:
    last = bus.call(bus.jetstream.stream_info(QUARANTINE)).state.last_seq
    found = [bus.call(bus.jetstream.get_msg(QUARANTINE, seq)) for seq in range(1, last + 1)]
    return [(one.data or b"", dict(one.headers or {})) for one in found]


def test_what_was_submitted_is_handled_together_and_then_gone(bus: Bus) -> None:
    intake, client = Intake(), SubmissionClient(bus)
    commands = [pause() for _ in range(50)]
    for command in commands:
        client.submit("acme", "ann", command)
    reading = reader(bus, intake)
    while reading.run_once():
        pass
    assert [one for group in intake.groups for one in group] == [command.command_id for command in commands]
    assert len(intake.groups) < 5
    until(lambda: waiting(bus) == 0)


def test_a_repeat_within_the_window_is_dropped_by_the_stream(bus: Bus) -> None:
    intake, command = Intake(), pause()
    places = [SubmissionClient(bus).submit("acme", "ann", command) for _ in range(3)]
    reading = reader(bus, intake)
    while reading.run_once():
        pass
    assert places == [1, 1, 1]
    assert intake.groups == [[command.command_id]]


def test_the_answer_goes_to_the_inbox_the_sender_names(bus: Bus) -> None:
    answers: list[Msg] = []

    async def hear(msg: Msg) -> None:
        answers.append(msg)

    inbox, command = bus.client.new_inbox(), pause()
    bus.call(bus.subscribe(inbox, hear))
    SubmissionClient(bus).submit("acme", "ann", command, reply_to=inbox, headers={"traceparent": "00-a-b-01"})
    reader(bus, Intake()).run_once()
    until(lambda: answers)
    assert Reply.from_json(answers[0].data) == Reply(ok=True, operation=command.operation, status="accepted")
    assert answers[0].headers == {"traceparent": "00-a-b-01"}


def test_no_answer_goes_where_only_we_may_publish(bus: Bus) -> None:
    heard: list[Msg] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg)

    bus.call(bus.subscribe("haulage.v1.wake.*", hear))
    SubmissionClient(bus).submit("acme", "ann", pause(), reply_to="haulage.v1.wake.log")
    assert reader(bus, Intake()).run_once() == 1
    bus.call(bus.client.rtt())
    assert heard == []


def test_a_refusal_is_final_and_takes_the_submission_out(bus: Bus) -> None:
    def refuse(group: Sequence[Received]) -> None:
        raise RefusedError("no")

    SubmissionClient(bus).submit("acme", "ann", pause())
    reader(bus, Intake(refuse)).run_once()
    until(lambda: waiting(bus) == 0)


def test_while_the_database_is_away_a_submission_stays_and_comes_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "LONGEST_PAUSE_SECONDS", 0.05)
    command = pause()

    def fail_twice(group: Sequence[Received]) -> None:
        if len(intake.groups) <= 2:
            assert waiting(bus) == 1
            raise NotReachableError("The database is away.")

    intake = Intake(fail_twice)
    SubmissionClient(bus).submit("acme", "ann", command)
    reading = reader(bus, intake)
    until(lambda: reading.run_once() >= 0 and len(intake.groups) == 3)
    assert intake.groups == [[command.command_id]] * 3
    until(lambda: waiting(bus) == 0)


def test_one_that_died_before_it_acknowledged_is_handled_again_by_another(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "ACK_WAIT_SECONDS", 0.2)
    command = pause()

    class DiedError(BaseException):
        """As much as a process can die in a test."""

    def die(group: Sequence[Received]) -> None:
        raise DiedError

    SubmissionClient(bus).submit("acme", "ann", command)
    with pytest.raises(DiedError):
        reader(bus, Intake(die)).run_once()
    assert waiting(bus) == 1
    intake = Intake()
    other = reader(bus, intake)
    until(lambda: other.run_once() == 1)
    assert intake.groups == [[command.command_id]]
    until(lambda: waiting(bus) == 0)


def test_what_was_delivered_before_is_handled_alone(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "LONGEST_PAUSE_SECONDS", 0.05)
    client = SubmissionClient(bus)
    commands = [pause() for _ in range(3)]

    def fail_together(group: Sequence[Received]) -> None:
        if len(group) > 1:
            raise NotReachableError("The database is away.")

    intake = Intake(fail_together)
    for command in commands:
        client.submit("acme", "ann", command)
    reading = reader(bus, intake)
    until(lambda: reading.run_once() >= 0 and waiting(bus) == 0)
    assert {len(group) for group in intake.groups[-3:]} == {1}


@pytest.mark.parametrize(
    ("subject", "body", "named"),
    [
        ("acme.ann.pause", b"\x00\xff", "JSON"),
        ("acme.ann.pause", b"{}", "command_id"),
        ("acme.ann.explode", b"{}", "explode"),
        ("Acme.ann.pause", b"{}", "tenant"),
        ("acme", b"{}", "subject"),
        ("acme.ann.pause", b"x" * 1_000_000, "JSON"),
    ],
)
def test_rubbish_is_kept_with_its_reason_and_taken_out(bus: Bus, subject: str, body: bytes, named: str) -> None:
    intake = Intake()
    subject = f"haulage.v1.submit.{subject}"
    answers: list[bytes] = []

    async def hear(msg: Msg) -> None:
        answers.append(msg.data)

    inbox = bus.client.new_inbox()
    bus.call(bus.subscribe(inbox, hear))
    bus.call(bus.jetstream.publish(subject, body, headers={"Haulage-Reply-To": inbox}))
    SubmissionClient(bus).submit("acme", "ann", pause())
    reading = reader(bus, intake)
    while reading.run_once():
        pass
    [(kept, headers)] = quarantined(bus)
    assert kept == body
    assert headers["Haulage-Subject"] == subject
    assert named in headers["Haulage-Reason"]
    assert len(intake.groups) == 1
    until(lambda: waiting(bus) == 0 and answers)
    assert json.loads(answers[0])["code"] == "invalid"


@pytest.mark.parametrize("status", ["404", "408", "503", "100", "409"])
def test_a_header_of_the_servers_own_does_not_hide_a_submission(bus: Bus, status: str) -> None:
    intake, command = Intake(), pause()
    body = command.model_dump_json().encode()
    headers = {"Status": status, "Description": "Idle Heartbeat"}
    bus.call(bus.jetstream.publish("haulage.v1.submit.acme.ann.pause", body, headers=headers))
    reading = reader(bus, intake)
    while reading.run_once():
        pass
    assert intake.groups == [[command.command_id]]
    until(lambda: waiting(bus) == 0)


def test_a_submission_is_handled_at_once_and_not_when_the_wait_is_over(bus: Bus) -> None:
    reading = SubmissionReader(bus, Streams(bus), Intake(), wait_seconds=30)
    with ThreadPoolExecutor(1) as pool:
        handled = pool.submit(reading.run_once)
        until(lambda: pulls(bus) == 1)
        SubmissionClient(bus).submit("acme", "ann", pause())
        assert handled.result(10) == 1


def pulls(bus: Bus) -> int:
    try:
        return bus.call(bus.jetstream.consumer_info(SUBMISSIONS, submit.CONSUMER)).num_waiting or 0
    except NotFoundError:
        return 0


def test_a_message_that_just_fits_is_kept_in_part(bus: Bus) -> None:
    bus.call(bus.jetstream.publish("haulage.v1.submit.acme.ann.pause", b"x" * (bus.client.max_payload - 60)))
    reader(bus, Intake()).run_once()
    [(kept, _)] = quarantined(bus)
    assert len(kept) == (bus.client.max_payload - 60) // 2
    until(lambda: waiting(bus) == 0)


def test_after_kill_9_of_nats_and_after_the_streams_deletion_it_goes_on(tmp_path: Path) -> None:
    server = BusServer(tmp_path / "nats").start()
    try:
        with Bus(server.url) as bus:
            streams, intake = Streams(bus), Intake()
            streams.keep()
            reading = SubmissionReader(bus, streams, intake, wait_seconds=0.2)
            reading.run_once()
            server.kill()
            until(lambda: not bus.connected)
            with pytest.raises(NotReachableError):
                reading.run_once()
            server.start()
            until(lambda: bus.connected)
            first, second = pause(), pause()
            SubmissionClient(bus).submit("acme", "ann", first)
            until(lambda: reads(reading))
            bus.call(bus.jetstream.delete_stream(SUBMISSIONS))
            until(lambda: recreates(reading, bus))
            SubmissionClient(bus).submit("acme", "ann", second)
            until(lambda: reads(reading))
            assert intake.groups == [[first.command_id], [second.command_id]]
    finally:
        server.kill()


def reads(reading: SubmissionReader) -> bool:
    try:
        return reading.run_once() == 1
    except NotReachableError:
        return False


def recreates(reading: SubmissionReader, bus: Bus) -> bool:
    reads(reading)
    return SUBMISSIONS in [info.config.name for info in bus.call(bus.jetstream.streams_info())]
