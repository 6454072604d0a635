"""Subjects and messages: what goes in comes out, and nothing outside the alphabet gets in."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulage.domain.commands import VERBS, PauseOperation, StartOperation
from haulage.domain.events import EVENTS
from haulage.domain.identity import TOKEN_PATTERN
from haulage.infra.nats import subjects
from haulage.infra.nats.messages import MessageError, Received, Reply, cloud_event, command_message, is_inbox, trace_of
from haulage.infra.nats.subjects import Address, EventAddress, SubjectError
from haulage.infra.nats.urls import target

TOKENS = st.from_regex(TOKEN_PATTERN.replace("$", r"\Z"))
OPERATION = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


# -- subjects ----------------------------------------------------------------------------------------------------------
@given(TOKENS, TOKENS, st.sampled_from(sorted(VERBS)))
def test_who_asks_and_what_for_is_read_back_from_the_subject(tenant: str, actor: str, verb: str) -> None:
    for build in (subjects.command, subjects.submission, subjects.query):
        assert subjects.parse_address(build(tenant, actor, verb)) == Address(tenant, actor, verb)


@given(TOKENS, TOKENS, st.uuids(), st.sampled_from(sorted(EVENTS)))
def test_an_events_address_is_read_back_from_its_subject(tenant: str, kind: str, operation: UUID, topic: str) -> None:
    subject = subjects.event(tenant, kind, operation, topic)
    assert subjects.parse_event(subject) == EventAddress(tenant, kind, operation, topic.removesuffix(".v1"))


@given(st.text())
def test_no_text_reaches_into_anothers_subjects(text: str) -> None:
    try:
        subject = subjects.command(text, "ann", "start")
    except SubjectError:
        return
    assert len(subject.split(".")) == 6
    assert not set(subject) & set("*> \r\n\t")


@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "Acme", "a b", "a\r\nPUB x", "ä", "-a", "_a", "a" * 64, "a\n"])
def test_a_token_outside_the_alphabet_is_refused_in_every_place(bad: str) -> None:
    for build in (
        lambda: subjects.command(bad, "ann", "start"),
        lambda: subjects.command("acme", bad, "start"),
        lambda: subjects.command("acme", "ann", bad),
        lambda: subjects.event(bad, "import-users", OPERATION, "a.b.v1"),
        lambda: subjects.event("acme", bad, OPERATION, "a.b.v1"),
        lambda: subjects.events_of(bad),
        lambda: subjects.progress(bad, OPERATION),
        lambda: subjects.wake(bad),
    ):
        with pytest.raises(SubjectError) as raised:
            build()
        assert len(str(raised.value)) < 250


@pytest.mark.parametrize("topic", ["", "a", "v1", "A.b.v1", "a..v1", "a.b", "a.b.v", "a.*.v1", "a.b.v1 "])
def test_what_is_no_topic_makes_no_subject(topic: str) -> None:
    with pytest.raises(SubjectError):
        subjects.event("acme", "import-users", OPERATION, topic)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "haulage.v1.command.acme.ann",
        "haulage.v1.command.acme.ann.start.now",
        "haulage.v2.command.acme.ann.start",
        "haulage.v1.event.acme.ann.start",
        "haulage.v1.command.Acme.ann.start",
        "haulage.v1.command..ann.start",
        "x" * 10_000,
    ],
)
def test_what_is_no_address_is_refused_in_a_short_sentence(subject: str) -> None:
    with pytest.raises(SubjectError) as raised:
        subjects.parse_address(subject)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    "subject", ["haulage.v1.event.acme.k.not-a-uuid.a.b", f"haulage.v1.event.acme.k.{OPERATION}", "haulage.v1.event"]
)
def test_what_is_no_events_subject_is_refused(subject: str) -> None:
    with pytest.raises(SubjectError):
        subjects.parse_event(subject)


def test_events_are_subscribed_to_by_tenant_kind_or_operation() -> None:
    assert subjects.events_of("acme") == "haulage.v1.event.acme.*.*.>"
    assert subjects.events_of("acme", "import-users") == "haulage.v1.event.acme.import-users.*.>"
    assert subjects.events_of("acme", operation=OPERATION) == f"haulage.v1.event.acme.*.{OPERATION}.>"


# -- messages ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "command",
    [
        StartOperation(command_id=uuid4(), operation=uuid4(), kind="import-users", parameters={"a": [1, {"b": "ü"}]}),
        PauseOperation(command_id=uuid4(), operation=uuid4(), reason="lunch"),
    ],
)
def test_a_command_is_read_back_from_its_message(command: StartOperation | PauseOperation) -> None:
    verb, headers, body = command_message(command, {"traceparent": "00-a-b-01"})
    assert Received("acme", "ann", verb, body, headers).command == command
    assert headers["ce-id"] == str(command.command_id)
    assert headers["ce-type"] == f"command.{verb}.v1"
    assert trace_of(headers) == {"traceparent": "00-a-b-01"}


@given(st.binary(max_size=200), st.sampled_from([*VERBS, "explode"]))
def test_no_bytes_break_the_reading_of_a_command(body: bytes, verb: str) -> None:
    with pytest.raises(MessageError) as raised:
        _ = Received("acme", "ann", verb, body).command
    assert 0 < len(str(raised.value)) < 2000


def test_what_is_wrong_is_told_by_field_and_never_by_value() -> None:
    body = b'{"command_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "operation": "secret-value", "kind": "a secret"}'
    with pytest.raises(MessageError) as raised:
        _ = Received("acme", "ann", "start", body).command
    assert "`operation`" in str(raised.value)
    assert "`kind`" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_text_that_only_looks_like_a_nul_is_accepted() -> None:
    body = b'{"command_id": "%s", "operation": "%s", "reason": "a\\\\u0000"}' % ((b"0" * 32,) * 2)
    command = Received("acme", "ann", "pause", body).command
    assert isinstance(command, PauseOperation)
    assert command.reason == "a\\u0000"


@given(
    st.builds(
        Reply,
        ok=st.booleans(),
        operation=st.none() | st.uuids(),
        status=st.none() | st.text(),
        code=st.text(),
        message=st.text(),
    )
)
def test_a_reply_is_read_back_from_its_json(reply: Reply) -> None:
    assert Reply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"ok": true, "operation": "x"}'])
def test_an_answer_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(MessageError):
        Reply.from_json(body)


def test_a_reply_of_a_later_version_is_read() -> None:
    assert Reply.from_json(b'{"ok": true, "hint": "new"}') == Reply(ok=True)


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("_INBOX.abc.def", True),
        ("_INBOX_ann.abc", True),
        ("_INBOX", False),
        ("_INBOX.*", False),
        ("_INBOX.>", False),
        ("_INBOX.a b", False),
        ("$JS.API.STREAM.DELETE.x", False),
        ("haulage.v1.wake.log", False),
        ("", False),
        (None, False),
        ("_INBOX." + "a" * 300, False),
    ],
)
def test_answers_go_to_inboxes_only(subject: str | None, fits: bool) -> None:
    assert is_inbox(subject) is fits


def test_the_time_is_left_out_of_the_headers_where_there_is_none() -> None:
    assert "ce-time" not in cloud_event("1", "a.v1", "/haulage", "x")


# -- URLs --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "servers", "login"),
    [
        ("nats://host", ("nats://host:4222",), {}),
        ("host:4333", ("nats://host:4333",), {}),
        ("tls://ann:p%40ss%3A@host:1", ("tls://host:1",), {"user": "ann", "password": "p@ss:"}),
        ("nats://t0ken@host", ("nats://host:4222",), {"token": "t0ken"}),
        ("nats://ann:@host", ("nats://host:4222",), {"user": "ann", "password": ""}),
        ("nats://a, nats://u:p@b:1", ("nats://a:4222", "nats://b:1"), {"user": "u", "password": "p"}),
        ("nats://[::1]:4222", ("nats://[::1]:4222",), {}),
        ("wss://host/", ("wss://host",), {}),
    ],
)
def test_servers_and_credentials_are_taken_apart(url: str, servers: tuple[str, ...], login: dict[str, str]) -> None:
    found = target(url)
    assert found.servers == servers
    assert dict(found.login()) == login
    for secret in ("p@ss:", "p%40ss", "t0ken"):
        assert secret not in f"{found}{found.shown}"


def test_secrets_are_struck_out_of_what_a_server_says() -> None:
    assert target("nats://ann:hunter2@host").without_secrets("bad password hunter2!") == "bad password ***!"
