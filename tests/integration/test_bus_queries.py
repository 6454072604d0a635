"""Questions over the bus: answered from the views and the log, to each tenant its own."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from bus_server import until

from haulage.domain.chunk import ChunkApplied
from haulage.domain.errors import NotFoundError, NotReachableError
from haulage.domain.event import Context, Event, NewEvents
from haulage.domain.events import EVENTS
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Counts, OutcomeKind, OutcomeRuns
from haulage.domain.operation import (
    OperationCompleted,
    OperationPlanned,
    OperationRequested,
    PlanningStarted,
    StepCompleted,
    StepStarted,
)
from haulage.domain.ports import Request
from haulage.domain.status import Status
from haulage.infra.nats import answers
from haulage.infra.nats.answers import Reader
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.queries import EventsQuery, HistoryQuery, ItemQuery, ListQuery, QueryService, ShowQuery
from haulage.infra.nats.query_client import QueryClient
from haulage.infra.postgres import requests
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import EventMapper
from haulage.infra.projector import Projector

LOG = PostgresLog(EventMapper(EVENTS))


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        yield bus


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        yield db


@pytest.fixture
def serve(bus: Bus) -> Iterator[Callable[..., QueryService]]:
    services: list[QueryService] = []

    def start(by_verb: Any) -> QueryService:
        service = QueryService(bus, by_verb)
        service.start()
        until(lambda: service._service is not None)
        bus.call(bus.client.rtt())
        services.append(service)
        return service

    yield start
    for service in services:
        service.stop()


@pytest.fixture
def client(bus: Bus, db: Database, serve: Callable[..., QueryService]) -> QueryClient:
    serve(Reader(db, LOG).answers())
    return QueryClient(bus)


REJECTED = OutcomeRuns(kind=OutcomeKind.REJECTED, code="duplicate", field="email", runs=((3, 3),))
COUNTS = Counts(succeeded=9, rejected=1)


def operation(db: Database, tenant: str = "acme") -> UUID:
    """An import of ten items, of which the third was rejected."""
    number = uuid4()
    context = Context(number, tenant, "import-users", "ann")
    request = Request(
        number, tenant, "import-users", 1, "ann", {"organization": "x"}, None, key="k" + number.hex, salt=b""
    )
    applied = ChunkApplied(step="import", first=1, last=10, exceptions=(REJECTED,))
    began: tuple[Event, ...] = (
        OperationRequested(definition_version=1, parameters_digest="d"),
        PlanningStarted(),
        OperationPlanned(items=10, blocks=1, manifest_digest="m", steps=("import",), chunk_items=10),
        StepStarted(step="import"),
    )
    ended = (StepCompleted(step="import", counts=COUNTS), OperationCompleted(counts=COUNTS))
    with db.transaction() as connection:
        requests.add_requests(connection, [request])
        append(connection, NewEvents(number, 0, began, context))
    with db.transaction() as connection:
        append(connection, NewEvents(chunk_stream(number, "import", 1, 10), 0, (applied,), context))
        append(connection, NewEvents(number, len(began), ended, context))
    Projector(db, LOG).catch_up()
    return number


def append(connection: Any, new: NewEvents) -> None:
    LOG.append(connection, LOG.prepare([new]))


def test_show_tells_how_far_it_is_and_what_was_asked_for(client: QueryClient, db: Database) -> None:
    number = operation(db)
    shown = client.ask("acme", "ann", ShowQuery(operation=number))
    assert shown["status"] == "completed_with_rejects"
    assert shown["items"] == {"total": 10, "done": 10, "succeeded": 9, "skipped": 0, "rejected": 1}
    assert shown["parameters"] == {"organization": "x"}


def test_list_gives_pages_newest_first(client: QueryClient, db: Database) -> None:
    numbers = [operation(db) for _ in range(5)]
    operation(db, tenant="other")
    found: list[str] = []
    after = None
    while True:
        page = client.ask("acme", "ann", ListQuery(limit=2, after=after))
        found += [one["operation"] for one in page["operations"]]
        if page["next"] is None:
            break
        after = UUID(page["next"])
    assert found == [str(number) for number in reversed(numbers)]
    assert client.ask("acme", "ann", ListQuery(statuses=(Status.RUNNING,)))["operations"] == []


def test_history_gives_the_operations_own_events_in_pages(client: QueryClient, db: Database) -> None:
    number = operation(db)
    first = client.ask("acme", "ann", HistoryQuery(operation=number, limit=4))
    rest = client.ask("acme", "ann", HistoryQuery(operation=number, after=first["next"]))
    assert rest["next"] is None
    assert [one["topic"] for one in [*first["events"], *rest["events"]]] == [
        "operation.requested.v1",
        "operation.planning_started.v1",
        "operation.planned.v1",
        "operation.step_started.v1",
        "operation.step_completed.v1",
        "operation.completed.v1",
    ]


def test_item_tells_what_became_of_it(client: QueryClient, db: Database) -> None:
    number = operation(db)
    [third] = client.ask("acme", "ann", ItemQuery(operation=number, ordinal=3))["outcomes"]
    [fourth] = client.ask("acme", "ann", ItemQuery(operation=number, ordinal=4))["outcomes"]
    assert (third["outcome"], third["code"], third["field"]) == ("rejected", "duplicate", "email")
    assert (fourth["outcome"], fourth["code"]) == ("succeeded", None)
    assert third["chunk"] == {"first": 1, "last": 10, "attempt": 1}
    assert client.ask("acme", "ann", ItemQuery(operation=number, ordinal=11))["outcomes"] == []


def test_events_serves_the_past_from_any_position(
    client: QueryClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small steps, so that pages end within and between stretches of the other tenant's events.
    monkeypatch.setattr(answers, "READ_EVENTS", 5)
    for tenant in ("acme", "other", "other", "acme"):
        operation(db, tenant)
    with db.connection() as connection:
        epoch = str(LOG.epoch(connection))
        expected = [str(one.position) for one in LOG.read(connection, 0, 100) if one.context.tenant == "acme"]
    found: list[str] = []
    after, end = "0", False
    while not end:
        page = client.ask("acme", "ann", EventsQuery(after=after, limit=3))
        found += [one["position"] for one in page["events"]]
        after, end = page["next"], page["end"]
        assert page["epoch"] == epoch
    assert len(found) == 14
    assert found == expected


def test_a_page_ends_before_it_is_too_large_for_a_message(
    client: QueryClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "PAGE_BYTES", 1000)
    number = operation(db)
    page = client.ask("acme", "ann", HistoryQuery(operation=number))
    assert 1 <= len(page["events"]) < 4
    assert page["next"] == page["events"][-1]["position"]


@pytest.mark.parametrize("ask", [ShowQuery, HistoryQuery])
def test_of_another_tenants_operation_one_hears_that_there_is_none(client: QueryClient, db: Database, ask: Any) -> None:
    number = operation(db, tenant="other")
    for query in (ask(operation=number), ItemQuery(operation=number, ordinal=1), ListQuery(after=number)):
        with pytest.raises(NotFoundError, match=str(number)):
            client.ask("acme", "mallory", query)
    with pytest.raises(NotFoundError):
        client.ask("acme", "ann", ask(operation=uuid4()))


@pytest.mark.parametrize(
    ("verb", "body", "named"),
    [
        ("show", b"", "operation"),
        ("show", b'{"operation": "x"}', "operation"),
        ("show", b"\xff\x00", "JSON"),
        ("list", b'{"limit": 100000}', "limit"),
        ("list", b'{"tenant": "other"}', "tenant"),
        ("events", b'{"after": "-1"}', "after"),
        ("events", b'{"after": 5}', "after"),
        ("item", b'{"operation": "%s", "ordinal": 0}' % (b"0" * 32), "ordinal"),
        ("guess", b"{}", "guess"),
    ],
)
def test_a_question_that_can_not_be_read_is_answered_with_what_is_wrong(
    bus: Bus, client: QueryClient, verb: str, body: bytes, named: str
) -> None:
    answer = json.loads(bus.call(bus.client.request(f"haulage.v1.query.acme.ann.{verb}", body, 5)).data)
    assert (answer["ok"], answer["code"]) == (False, "invalid")
    assert named in answer["message"]


def test_a_slow_question_holds_no_other_up(bus: Bus, serve: Any) -> None:
    may_end = threading.Event()
    serve({"show": lambda tenant, query: may_end.wait(20), "list": lambda tenant, query: {"tenant": tenant}})
    client = QueryClient(bus)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.ask, "acme", "ann", ShowQuery(operation=uuid4()))
        assert client.ask("acme", "ann", ListQuery()) == {"tenant": "acme"}
        assert not slow.done()
        may_end.set()
        assert slow.result(10) is True


def test_an_answer_too_large_for_a_message_says_so(bus: Bus, serve: Any) -> None:
    serve({"list": lambda tenant, query: "x" * bus.client.max_payload})
    answer = json.loads(bus.call(bus.client.request("haulage.v1.query.acme.ann.list", b"", 5)).data)
    assert (answer["ok"], answer["code"]) == (False, "too_large")


def test_a_fault_is_told_without_its_details_and_the_service_goes_on(bus: Bus, serve: Any) -> None:
    def fail(tenant: str, query: Any) -> None:
        raise ZeroDivisionError("secret")

    serve({"list": fail, "show": lambda tenant, query: 1})
    answer = json.loads(bus.call(bus.client.request("haulage.v1.query.acme.ann.list", b"", 5)).data)
    assert answer["code"] == "error"
    assert "secret" not in answer["message"]
    assert QueryClient(bus).ask("acme", "ann", ShowQuery(operation=uuid4())) == 1


def test_without_a_service_the_client_says_so(bus: Bus) -> None:
    with pytest.raises(NotReachableError, match="nobody answers"):
        QueryClient(bus).ask("acme", "ann", ListQuery())
