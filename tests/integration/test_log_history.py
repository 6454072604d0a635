"""A history that was restored, failed over or lost its end goes on above everything that anybody has seen."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from log_samples import LOG, append, append_alone, noted, texts

from haulage.infra.embedded.binaries import installed
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import NotSettledError
from haulage.infra.postgres.history import epoch, settle_history
from haulage.infra.postgres.migrate import migrate
from haulage.infra.servers import Servers

TRANSACTION = 1 << 20


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4, application_name="test") as database:
        yield database


def settle(database: Database, above: int | None = None) -> bool:
    with database.connection() as connection:
        return settle_history(connection, above)


def epoch_of(database: Database) -> int:
    with database.connection() as connection:
        return epoch(connection)


def followed(database: Database, after: int) -> list[int]:
    """The positions a follower gets."""
    with database.connection() as connection:
        return [recorded.position for recorded in LOG.read(connection, after, 100)]


def administer(url: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters or None)


def pretend_elsewhere(admin_url: str) -> None:
    administer(admin_url, "update haulage.history set whereabouts = '1/00000001/1'")


def test_settling_an_intact_history_does_nothing(db: Database) -> None:
    (position,) = append_alone(db, noted(uuid4(), 0, "one"))
    before = epoch_of(db)

    assert settle(db) is False
    assert settle(db, above=position) is False
    assert epoch_of(db) == before


def test_a_history_found_elsewhere_takes_no_events_until_it_is_settled(db: Database, admin_url: str) -> None:
    stream = uuid4()
    (before,) = append_alone(db, noted(stream, 0, "before"))
    old = epoch_of(db)
    pretend_elsewhere(admin_url)

    with pytest.raises(NotSettledError, match="restored or failed over"):
        append_alone(db, noted(stream, 1, "too soon"))
    assert settle(db) is True
    (after,) = append_alone(db, noted(stream, 1, "after"))

    assert after > before
    assert epoch_of(db) > old
    assert texts(db, stream) == ["before", "after"]
    assert followed(db, before) == [after]
    assert settle(db) is False


def test_new_positions_lie_above_the_last_one_on_the_bus(db: Database) -> None:
    append_alone(db, noted(uuid4(), 0, "kept"))
    with db.connection() as connection:
        published = LOG.horizon(connection) + 1000 * TRANSACTION
    old = epoch_of(db)

    assert settle(db, above=published) is True

    (position,) = append_alone(db, noted(uuid4(), 0, "new"))
    assert position > published
    assert epoch_of(db) > old
    assert followed(db, published) == [position]
    assert settle(db, above=published) is False


def test_a_position_that_no_log_can_have_given_out_changes_nothing(db: Database) -> None:
    old = epoch_of(db)

    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="not one of a log"):
        settle(db, above=2**63 - 1)

    assert epoch_of(db) == old
    assert append_alone(db, noted(uuid4(), 0, "still works"))


def test_new_positions_lie_above_a_stored_maximum_that_is_ahead(db: Database, admin_url: str) -> None:
    ahead = 1 << 55
    administer(
        admin_url,
        "insert into haulage.events (originator_id, originator_version, topic, state, notification_id)"
        " values (gen_random_uuid(), 1, 'test.noted.v1', %s, %s)",
        LOG.prepare([noted(uuid4(), 0, "ahead")]).events[0].state,
        ahead,
    )

    assert settle(db) is True

    (position,) = append_alone(db, noted(uuid4(), 0, "new"))
    assert position > ahead
    assert followed(db, 0) == [ahead, position]
    assert settle(db) is False


def test_a_transaction_that_was_open_while_the_history_was_settled_appends_above_too(db: Database) -> None:
    with db.connection() as connection:
        published = LOG.horizon(connection) + 1000 * TRANSACTION
    with db.transaction() as early:
        early.execute("select pg_current_xact_id()")
        settle(db, above=published)

        (position,) = append(early, noted(uuid4(), 0, "early"))

    assert position > published


def test_settling_waits_for_those_who_have_appended(db: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with db.transaction() as writer:
            (before,) = append(writer, noted(uuid4(), 0, "before"))
            settling = pool.submit(settle, db, before + 1000 * TRANSACTION)
            wait_for_the_lock(db)
            assert not settling.done()
        assert settling.result(10) is True
    (after,) = append_alone(db, noted(uuid4(), 0, "after"))
    assert followed(db, 0) == [before, after]


def test_processes_that_settle_at_the_same_time_begin_one_epoch(db: Database, admin_url: str) -> None:
    pretend_elsewhere(admin_url)
    with ThreadPoolExecutor(4) as pool:
        began = list(pool.map(lambda _: settle(db), range(4)))

    assert sorted(began) == [False, False, False, True]


def test_a_dump_restored_into_the_same_cluster_is_noticed(db: Database, admin_url: str, tmp_path: Path) -> None:
    stream = uuid4()
    append_alone(db, noted(stream, 0, "dumped"))
    dump(admin_url, tmp_path / "dump")
    append_alone(db, noted(stream, 1, "seen by somebody, then lost"))
    seen = followed(db, 0)[-1]
    name = f"t_{uuid4().hex}"
    administer(admin_url, f"create database {name}")
    try:
        restore(of(name, admin_url), tmp_path / "dump")
        with Database(of(name, db.url)) as restored:
            check_restored(restored, stream, seen, epoch_of(db))
    finally:
        administer(admin_url, f"drop database {name} with (force)")


def test_a_dump_restored_into_a_new_cluster_goes_on_above_the_old_one(
    db: Database, admin_url: str, tmp_path: Path, make_servers: Callable[..., Servers]
) -> None:
    stream = uuid4()
    # So that transaction ids there start over below.
    administer(admin_url, "do $$ begin for i in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$")
    append_alone(db, noted(stream, 0, "dumped"))
    dump(admin_url, tmp_path / "dump")
    append_alone(db, noted(stream, 1, "seen by somebody, then lost"))
    seen = followed(db, 0)[-1]
    with make_servers() as urls:
        assert urls.postgres_admin is not None
        migrate(urls.postgres_admin, urls.postgres_app)
        administer(urls.postgres_admin, "drop schema haulage cascade; drop schema if exists directory cascade")
        restore(urls.postgres_admin, tmp_path / "dump")
        with Database(urls.postgres_app) as restored:
            with restored.connection() as connection:
                assert LOG.horizon(connection) < seen
            check_restored(restored, stream, seen, epoch_of(db))


def check_restored(restored: Database, stream: UUID, seen: int, old: int) -> None:
    with pytest.raises(NotSettledError):
        append_alone(restored, noted(stream, 1, "too soon"))
    assert settle(restored) is True
    (position,) = append_alone(restored, noted(stream, 1, "after"))
    assert position > seen
    assert followed(restored, seen) == [position]
    assert texts(restored, stream) == ["dumped", "after"]
    assert epoch_of(restored) > old


def wait_for_the_lock(database: Database) -> None:
    deadline = time.monotonic() + 10
    with database.connection() as connection:
        while not connection.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchone():
            assert time.monotonic() < deadline, "nobody waits for the lock"


def of(database: str, url: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def dump(url: str, file: Path) -> None:
    program("pg_dump", "--format=custom", f"--file={file}", f"--dbname={url}")


def restore(url: str, file: Path) -> None:
    program("pg_restore", "--exit-on-error", f"--dbname={url}", str(file))


def program(name: str, *arguments: str) -> None:
    subprocess.run([installed().postgres.parent / name, *arguments], check=True)
