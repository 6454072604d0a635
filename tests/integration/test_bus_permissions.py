"""The permissions that docs/bus.md gives, on a real server: what ann of acme may do, and what she may not."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bus_server import BusServer, until
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from haulage.domain.commands import PauseOperation
from haulage.domain.errors import NotReachableError
from haulage.infra.nats.command_client import CommandClient
from haulage.infra.nats.commands import CommandService
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import Reply
from haulage.infra.nats.queries import ListQuery, QueryService
from haulage.infra.nats.query_client import QueryClient
from haulage.infra.nats.streams import EVENTS, PROGRESS_BUCKET, Streams
from haulage.infra.nats.submission_client import SubmissionClient

DOCUMENT = Path(__file__).parents[2] / "docs" / "bus.md"
OPERATION = uuid4()
ACME = "haulage.v1.event.acme.>"


def documented_permissions() -> str:
    [block] = re.findall(r"```\n(accounts .*?)```", DOCUMENT.read_text(), re.DOTALL)
    return str(block).replace("$HAULAGE_NATS_PASSWORD", "ours").replace("$ANN_NATS_PASSWORD", "hers")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusServer]:
    server = BusServer(tmp_path_factory.mktemp("nats"), documented_permissions()).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def haulage(server: BusServer) -> Iterator[Bus]:
    with Bus(server.url.replace("//", "//haulage:ours@")) as bus:
        Streams(bus).keep()
        commands = CommandService(bus, lambda group: [Reply(ok=True, message=one.actor) for one in group])
        queries = QueryService(bus, {"list": lambda tenant, query: tenant})
        commands.start()
        queries.start()
        until(lambda: commands._service is not None and queries._service is not None)
        for tenant in ("acme", "other"):
            subject = f"haulage.v1.event.{tenant}.import-users.{OPERATION}.operation.completed"
            bus.call(bus.jetstream.publish(subject, tenant.encode()))
            bus.call(bus.jetstream.publish(f"$KV.{PROGRESS_BUCKET}.{tenant}.{OPERATION}", tenant.encode()))
        hers = ConsumerConfig(durable_name="acme-ann", filter_subject=ACME)
        bus.call(bus.jetstream.add_consumer(EVENTS, hers))
        yield bus
        queries.stop()
        commands.stop()


@pytest.fixture
def ann(server: BusServer, haulage: Bus) -> Iterator[Bus]:
    with Bus(server.url.replace("//", "//ann:hers@"), inbox_prefix="_INBOX_ann") as bus:
        yield bus


def pause() -> PauseOperation:
    return PauseOperation(command_id=uuid4(), operation=OPERATION)


def test_she_sends_commands_submits_and_asks(ann: Bus) -> None:
    assert CommandClient(ann).request("acme", "ann", pause()).message == "ann"
    assert SubmissionClient(ann).submit("acme", "ann", pause()) > 0
    assert QueryClient(ann).ask("acme", "ann", ListQuery()) == "acme"


@pytest.mark.parametrize(
    ("tenant", "actor"), [("acme", "bob"), ("other", "ann"), ("other", "bob"), ("acme", "haulage")]
)
def test_she_can_be_nobody_else(ann: Bus, tenant: str, actor: str) -> None:
    with pytest.raises(NotReachableError):
        CommandClient(ann).request(tenant, actor, pause(), timeout_seconds=0.5)
    with pytest.raises(NotReachableError):
        QueryClient(ann).ask(tenant, actor, ListQuery(), timeout_seconds=0.5)


def test_she_reads_the_events_of_her_tenant_from_the_stream(ann: Bus) -> None:
    async def read() -> list[bytes]:
        subscription = await ann.jetstream.pull_subscribe_bind("acme-ann", EVENTS)
        messages = await subscription.fetch(10, timeout=2)
        for message in messages:
            await message.ack_sync()
        return [message.data for message in messages]

    assert ann.call(read()) == [b"acme"]


def test_she_reads_the_progress_of_her_tenant(ann: Bus) -> None:
    subject = f"$JS.API.DIRECT.GET.KV_{PROGRESS_BUCKET}.$KV.{PROGRESS_BUCKET}.acme.{OPERATION}"
    assert ann.call(ann.client.request(subject, b"", 5)).data == b"acme"


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("$JS.API.CONSUMER.CREATE.haulage-events.spy.haulage.v1.event.acme.>", {"filter_subject": ACME}),
        ("$JS.API.CONSUMER.CREATE.haulage-events.spy", {"filter_subject": ""}),
        ("$JS.API.CONSUMER.DURABLE.CREATE.haulage-events.spy", {"filter_subject": ACME}),
        ("$JS.API.CONSUMER.DELETE.haulage-events.acme-ann", {}),
        ("$JS.API.CONSUMER.MSG.NEXT.haulage-events.haulage-intake", {}),
        ("$JS.API.STREAM.DELETE.haulage-events", {}),
        ("$JS.API.STREAM.PURGE.haulage-events", {}),
        ("$JS.API.STREAM.MSG.GET.haulage-events", {"seq": 2}),
        ("$JS.API.STREAM.CREATE.mine", {"name": "mine", "subjects": ["haulage.v1.command.>"]}),
        (f"$JS.API.DIRECT.GET.KV_haulage-progress.$KV.haulage-progress.other.{OPERATION}", {}),
        (f"haulage.v1.event.acme.import-users.{OPERATION}.operation.completed", {}),
        (f"$KV.haulage-progress.acme.{OPERATION}", {}),
    ],
)
def test_she_can_not_reach_what_is_not_hers(ann: Bus, haulage: Bus, subject: str, body: dict[str, Any]) -> None:
    before = [haulage.call(haulage.jetstream.stream_info(name)).state.last_seq for name in (EVENTS, "haulage-submit")]
    filters = {
        "other": "haulage.v1.event.other.>",
        "none": "",
        "smuggled": "haulage.v1.event.>",
        "acme": "haulage.v1.event.acme.>",
    }
    if "filter" in body:
        config = {"durable_name": "acme-ann", "filter_subject": filters[body["filter"]], "ack_policy": "explicit"}
        body = {"stream_name": EVENTS, "config": config}
    try:
        answer = json.loads(ann.call(ann.client.request(subject, json.dumps(body).encode(), 0.3)).data)
    except Exception as error:  # noqa: BLE001 - that nothing came back is what is expected
        answer = {"error": str(error)}
    assert "error" in answer
    after = [haulage.call(haulage.jetstream.stream_info(name)).state.last_seq for name in (EVENTS, "haulage-submit")]
    assert after == before


def test_she_hears_neither_other_tenants_nor_other_peoples_answers(ann: Bus, haulage: Bus) -> None:
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    for subject in (">", "haulage.v1.event.other.>", "haulage.v1.event.>", "_INBOX.>", "haulage.v1.progress.acme.*"):
        ann.call(ann.subscribe(subject, hear))
    ann.call(ann.client.rtt())
    subjects = [
        f"haulage.v1.event.other.import-users.{OPERATION}.operation.failed",
        "_INBOX.x.y",
        f"haulage.v1.progress.other.{OPERATION}",
        f"haulage.v1.progress.acme.{OPERATION}",
    ]
    for subject in subjects:
        haulage.call(haulage.client.publish(subject, b"x"))
    until(lambda: heard)
    assert heard == [f"haulage.v1.progress.acme.{OPERATION}"]


def test_an_answer_she_directs_at_a_stream_is_not_published_with_haulages_rights(ann: Bus, haulage: Bus) -> None:
    before = haulage.call(haulage.jetstream.stream_info(EVENTS)).state
    for reply in (
        "$JS.API.STREAM.PURGE.haulage-events",
        "haulage.v1.event.acme.x",
        "haulage.v1.command.other.bob.pause",
    ):
        body = pause().model_dump_json().encode()
        ann.call(ann.client.publish("haulage.v1.command.acme.ann.pause", body, reply=reply))
        ann.call(ann.client.publish("haulage.v1.query.acme.ann.list", b"", reply=reply))
    assert CommandClient(ann).request("acme", "ann", pause()).ok
    after = haulage.call(haulage.jetstream.stream_info(EVENTS)).state
    assert (after.messages, after.last_seq) == (before.messages, before.last_seq)
