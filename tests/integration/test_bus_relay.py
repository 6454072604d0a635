"""The relay: the stream holds what the log holds, in its order, whatever happens to either."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from bus_server import BusServer, until
from log_samples import CONTEXT, LOG, append_alone, noted
from nats.js.api import RawStreamMsg

from haulage.domain.errors import HaulageError, NotReachableError
from haulage.infra.nats import event_stream, relay
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.event_stream import EventStream
from haulage.infra.nats.relay import Relay
from haulage.infra.nats.streams import EVENTS, Sizes, Streams
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.history import settle_history
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import UndecodableEventError


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        yield db


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BusServer]:
    server = BusServer(tmp_path / "nats").start()
    yield server
    server.kill()


@pytest.fixture
def bus(server: BusServer) -> Iterator[Bus]:
    with Bus(server.url) as bus:
        yield bus


@pytest.fixture
def make_relay(bus: Bus, db: Database) -> Iterator[Callable[..., Relay]]:
    relays: list[Relay] = []

    def make(on: Bus = bus, log: PostgresLog = LOG, sizes: Sizes | None = None) -> Relay:
        relays.append(Relay(db, log, on, Streams(on, sizes)))
        return relays[-1]

    yield make
    for one in relays:
        one.close()


def add(db: Database, events: int) -> None:
    """Append events, in streams of their own and two to a transaction."""
    for start in range(0, events, 2):
        append_alone(db, *(noted(uuid4(), 0, str(n)) for n in range(start, min(start + 2, events))))


def in_log(db: Database) -> list[tuple[int, str]]:
    with db.connection() as connection:
        return [(one.position, str(one.id)) for one in LOG.read(connection, 0, 100_000)]


def messages(bus: Bus, stream: str = EVENTS) -> list[RawStreamMsg]:
    state = bus.call(bus.jetstream.stream_info(stream)).state
    return [bus.call(bus.jetstream.get_msg(stream, n)) for n in range(state.first_seq, state.last_seq + 1)]


def in_stream(bus: Bus) -> list[tuple[int, str]]:
    return [place(one) for one in messages(bus)]


def place(one: RawStreamMsg) -> tuple[int, str]:
    headers = one.headers or {}
    return int(headers["Haulage-Position"]), headers["Nats-Msg-Id"]


def run_until_it_raises(one: Relay) -> None:
    while True:
        one.run_once()


def catch_up(one: Relay) -> None:
    """Run until there is nothing to do, over whatever fails meanwhile."""

    def idle() -> bool:
        try:
            return one.run_once() == 0
        except HaulageError:
            return False

    until(idle)


def test_every_event_is_published_in_the_order_of_the_log(make_relay: Any, bus: Bus, db: Database) -> None:
    add(db, 50)
    catch_up(make_relay())
    assert len(in_stream(bus)) == 50
    assert in_stream(bus) == in_log(db)


def test_a_message_is_a_cloud_event_with_position_and_epoch(make_relay: Any, bus: Bus, db: Database) -> None:
    stream = uuid4()
    append_alone(db, noted(stream, 0, "first", "second"))
    catch_up(make_relay())
    with db.connection() as connection:
        [_, recorded], epoch = LOG.read(connection, 0, 10), LOG.epoch(connection)
    message = messages(bus)[1]
    assert message.subject == f"haulage.v1.event.default.import-users.{CONTEXT.operation}.test.noted"
    assert message.headers is not None
    assert {name: message.headers[name] for name in message.headers if not name.startswith("Nats-Expected")} == {
        "ce-specversion": "1.0",
        "ce-id": str(recorded.id),
        "ce-source": "/haulage/default/import-users",
        "ce-type": "test.noted.v1",
        "ce-subject": str(CONTEXT.operation),
        "ce-time": recorded.at.isoformat(),
        "ce-datacontenttype": "application/json",
        "Nats-Msg-Id": str(recorded.id),
        "Haulage-Position": str(recorded.position),
        "Haulage-Epoch": str(epoch),
    }
    body = json.loads(message.data or b"")
    assert body == {
        "topic": "test.noted.v1",
        "operation": str(CONTEXT.operation),
        "tenant": "default",
        "kind": "import-users",
        "actor": "alice",
        "stream": str(stream),
        "version": 2,
        "position": str(recorded.position),
        "at": recorded.at.isoformat(),
        "id": str(recorded.id),
        "data": {"text": "second"},
    }


def test_a_transaction_still_open_holds_back_what_came_after_it(make_relay: Any, bus: Bus, db: Database) -> None:
    one = make_relay()
    with db.transaction() as early:
        LOG.append(early, LOG.prepare([noted(uuid4(), 0, "early")]))
        append_alone(db, noted(uuid4(), 0, "late"))
        assert one.run_once() == 0
    catch_up(one)
    assert [json.loads(message.data or b"")["data"]["text"] for message in messages(bus)] == ["early", "late"]


def test_only_one_relay_publishes_and_another_takes_over_when_it_ends(make_relay: Any, bus: Bus, db: Database) -> None:
    first, second = make_relay(), make_relay()
    add(db, 10)
    assert first.run_once() == 10
    add(db, 10)
    assert second.run_once() == 0
    assert not second.holds_term
    first.close()
    until(lambda: second.run_once() == 10)
    assert in_stream(bus) == in_log(db)


def test_relays_that_lose_their_term_again_and_again_never_interleave(
    make_relay: Any, bus: Bus, db: Database, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "GROUP_EVENTS", 40)
    stop = threading.Event()
    terms: set[int] = set()

    def work(number: int) -> None:
        one = make_relay()
        while not stop.is_set():
            try:
                one.run_once()
            except HaulageError:
                continue
            if one.holds_term:
                terms.add(number)
            else:
                stop.wait(0.005)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for _ in range(20):
            add(db, 100)
            # Ends the term of whoever has it, at any point of what it does.
            admin.execute(
                "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database"
                " where locktype = 'advisory' and datname = current_database() and objid = %s",
                (int.from_bytes(b"RELAY") & 0xFFFFFFFF,),
            )
    until(lambda: len(in_log(db)) == bus.call(bus.jetstream.stream_info(EVENTS)).state.messages)
    stop.set()
    for worker in workers:
        worker.join()
    assert in_stream(bus) == in_log(db)
    assert len(terms) > 1


def test_two_relays_that_both_believe_in_their_term_publish_once(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(db, 30)
    frozen, other = make_relay(), make_relay()
    assert frozen.run_once() == 30
    add(db, 30)
    # The lock alone does not hold a relay that was frozen after it looked: here it never asks again.
    monkeypatch.setattr(other, "_take_term", lambda connection: True)
    other._saved = other._read_checkpoint(other._connected())
    assert other.run_once() == 30
    add(db, 30)
    assert frozen.run_once() > 0
    catch_up(frozen)
    assert in_stream(bus) == in_log(db)


def test_after_kill_9_of_nats_it_catches_up(
    make_relay: Any, bus: Bus, server: BusServer, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "GROUP_EVENTS", 20)
    one = make_relay()
    for _ in range(3):
        add(db, 60)
        one.run_once()
        server.kill()
        add(db, 30)
        with pytest.raises(NotReachableError):
            run_until_it_raises(one)
        server.start()
        catch_up(one)
        assert in_stream(bus) == in_log(db)


def test_what_an_older_copy_of_the_store_lacks_is_published_again(
    make_relay: Any, bus: Bus, server: BusServer, db: Database, tmp_path: Path
) -> None:
    one = make_relay()
    add(db, 40)
    catch_up(one)
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    add(db, 40)
    catch_up(one)
    server.kill()
    server.put_store_back(tmp_path / "copy")
    server.start()
    until(lambda: bus.connected)
    assert len(in_stream(bus)) == 40
    # Nothing new is needed to notice it.
    catch_up(one)
    assert in_stream(bus) == in_log(db)
    add(db, 5)
    catch_up(one)
    assert in_stream(bus) == in_log(db)


def test_a_new_process_notices_an_older_copy_of_the_store(
    make_relay: Any, bus: Bus, server: BusServer, db: Database, tmp_path: Path
) -> None:
    one = make_relay()
    add(db, 40)
    catch_up(one)
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    add(db, 40)
    catch_up(one)
    one.close()
    server.kill()
    server.put_store_back(tmp_path / "copy")
    server.start()
    until(lambda: bus.connected)
    catch_up(make_relay())
    assert in_stream(bus) == in_log(db)


def test_a_deleted_stream_is_made_anew_and_filled(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_relay()
    add(db, 40)
    catch_up(one)
    bus.call(bus.jetstream.delete_stream(EVENTS))
    add(db, 1)
    catch_up(one)
    assert in_stream(bus) == in_log(db)
    # And without anything new, at the next look.
    bus.call(bus.jetstream.delete_stream(EVENTS))
    one._look_at = 0.0
    catch_up(one)
    assert in_stream(bus) == in_log(db)


def test_a_stream_emptied_by_hand_or_by_age_is_not_filled_again(make_relay: Any, bus: Bus, db: Database) -> None:
    one = make_relay()
    add(db, 40)
    catch_up(one)
    bus.call(bus.jetstream.purge_stream(EVENTS))
    one.close()
    other = make_relay()
    catch_up(other)
    assert in_stream(bus) == []
    add(db, 3)
    catch_up(other)
    assert in_stream(bus) == in_log(db)[-3:]


def test_of_lost_events_those_the_stream_would_have_dropped_by_age_stay_away(
    make_relay: Any, bus: Bus, db: Database
) -> None:
    one = make_relay()
    add(db, 10)
    catch_up(one)
    bus.call(bus.jetstream.delete_stream(EVENTS))
    one.close()
    with db.connection() as connection:
        connection.execute("select pg_sleep(1.1)")
    add(db, 4)
    # Those four were never published, so they go out whatever their age.
    catch_up(make_relay(sizes=Sizes(events_seconds=1.0)))
    assert bus.call(bus.jetstream.stream_info(EVENTS)).state.last_seq == 4


def test_a_lost_acknowledgement_repeats_nothing(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_relay()
    add(db, 10)
    really = EventStream._store
    lost: list[int] = []

    async def lose(self: EventStream, message: Any, expected: dict[str, str]) -> tuple[int, bool]:
        stored = await really(self, message, expected)
        if not lost:
            lost.append(stored[0])
            raise TimeoutError
        return stored

    monkeypatch.setattr(EventStream, "_store", lose)
    with pytest.raises(NotReachableError):
        one.run_once()
    catch_up(one)
    assert lost == [10]
    assert in_stream(bus) == in_log(db)


def test_a_crash_before_the_checkpoint_repeats_nothing(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_relay()
    add(db, 10)
    monkeypatch.setattr(one, "_save", lambda connection, place: None)
    assert one.run_once() == 10
    one.close()
    catch_up(make_relay())
    assert in_stream(bus) == in_log(db)


def test_part_of_a_group_that_got_through_is_gone_on_from(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_relay()
    add(db, 10)
    really = bus.client.publish_clean
    sent = 0

    async def lose_the_fifth(*args: Any) -> None:
        nonlocal sent
        sent += 1
        if sent != 5:
            await really(*args)

    monkeypatch.setattr(bus.client, "publish_clean", lose_the_fifth)
    one.run_once()
    assert len(in_stream(bus)) == 4
    catch_up(one)
    assert in_stream(bus) == in_log(db)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"Haulage-Position": "999999999999999999", "Nats-Msg-Id": "forged"},
        {"Haulage-Position": "99999999999999999999999", "Nats-Msg-Id": "forged"},
        {"Haulage-Position": "-1"},
    ],
)
def test_a_foreign_message_in_the_stream_makes_it_skip_nothing(
    make_relay: Any, bus: Bus, db: Database, headers: dict[str, str] | None
) -> None:
    one = make_relay()
    add(db, 10)
    catch_up(one)
    bus.call(bus.jetstream.publish("haulage.v1.event.x", b"rubbish", headers=headers))
    add(db, 10)
    catch_up(one)
    found = messages(bus)
    assert found[10].data == b"rubbish"
    assert [place(message) for message in [*found[:10], *found[11:]]] == in_log(db)


def test_more_foreign_messages_than_it_looks_back_cost_repeats_and_no_event(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (event_stream, relay):
        monkeypatch.setattr(module, "LOOK_BACK_MESSAGES", 3)
    one = make_relay()
    add(db, 10)
    catch_up(one)
    for _ in range(5):
        bus.call(bus.jetstream.publish("haulage.v1.event.x", b"rubbish"))
    add(db, 10)
    catch_up(one)
    ours = [place(message) for message in messages(bus) if message.data != b"rubbish"]
    assert ours == in_log(db)


def test_events_already_in_the_stream_under_their_ids_are_passed_over(
    make_relay: Any, bus: Bus, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_relay()
    add(db, 10)
    catch_up(one)
    one.close()
    # As after a restored database: nothing near the stream's end is known, and the checkpoint is an old one.
    for module in (event_stream, relay):
        monkeypatch.setattr(module, "LOOK_BACK_MESSAGES", 0)
    with db.transaction() as connection:
        connection.execute("delete from haulage.checkpoints")
    add(db, 10)
    catch_up(make_relay())
    assert in_stream(bus) == in_log(db)


def test_after_the_log_was_restored_to_an_earlier_point_new_events_go_out_with_a_new_epoch(
    make_relay: Any, bus: Bus, db: Database, admin_url: str
) -> None:
    one = make_relay()
    add(db, 10)
    catch_up(one)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        kept = in_log(db)[:6]
        admin.execute("alter table haulage.events disable trigger all")
        admin.execute("delete from haulage.events where notification_id > %s", (kept[-1][0],))
        admin.execute("alter table haulage.events enable always trigger events_are_append_only")
        admin.execute("delete from haulage.checkpoints")
    one.close()
    last = bus.call(EventStream(bus, Streams(bus)).last_position())
    assert last == in_stream(bus)[-1][0]
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("update haulage.history set whereabouts = 'elsewhere'")
        assert settle_history(admin, last)
    add(db, 5)
    catch_up(make_relay())
    published = messages(bus)
    assert [place(message) for message in published[10:]] == in_log(db)[6:]
    assert [place(message)[0] for message in published] == sorted(place(message)[0] for message in published)
    epochs = [(message.headers or {})["Haulage-Epoch"] for message in published]
    assert len(set(epochs[:10])) == 1
    assert len(set(epochs[10:])) == 1
    assert epochs[10] > epochs[9]


def test_what_can_not_be_decoded_stops_it_after_everything_before(make_relay: Any, bus: Bus, db: Database) -> None:
    add(db, 7)
    with db.transaction() as connection:
        connection.execute("select haulage.append(%s, %s, %s, %s)", ([uuid4()], [1], ["unknown.topic.v1"], [b"{}"]))
    add(db, 3)
    one = make_relay()
    with pytest.raises(UndecodableEventError, match=r"unknown\.topic\.v1"):
        run_until_it_raises(one)
    assert len(in_stream(bus)) == 7


def test_an_event_larger_than_the_server_takes_goes_out_without_its_data(
    make_relay: Any, db: Database, tmp_path: Path
) -> None:
    small = BusServer(tmp_path / "small", "max_payload: 4096\n").start()
    try:
        with Bus(small.url) as bus:
            append_alone(db, noted(uuid4(), 0, "short"), noted(uuid4(), 0, "x" * 5000))
            one = make_relay(on=bus)
            catch_up(one)
            found = messages(bus)
            one.close()
        assert [place(message) for message in found] == in_log(db)
        assert json.loads(found[0].data or b"")["data"] == {"text": "short"}
        assert json.loads(found[1].data or b"")["data"] is None
        assert (found[1].headers or {})["Haulage-Truncated"] == "1"
    finally:
        small.kill()


def test_while_the_database_is_away_it_says_so_and_goes_on_afterwards(
    make_relay: Any, bus: Bus, db: Database, admin_url: str
) -> None:
    one = make_relay()
    add(db, 4)
    assert one.run_once() == 4
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
    with pytest.raises(NotReachableError):
        one.run_once()
    with Database(db.url) as again:  # the sessions of the other were ended, too
        add(again, 4)
        catch_up(one)
        assert in_stream(bus) == in_log(again)
