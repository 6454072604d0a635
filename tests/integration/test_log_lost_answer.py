"""A commit whose answer was lost is settled by event id: nothing is lost, nothing is appended twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from cutting_proxy import Cut, cutting
from log_samples import LOG, noted, texts

from haulage.domain.errors import ConflictError, NotReachableError
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import OutcomeUnknownError
from haulage.infra.postgres.log import Prepared
from haulage.infra.postgres.recorder import LogRecorder


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4, application_name="test") as database:
        yield database


def commit(database: Database, prepared: Prepared) -> list[int]:
    with database.transaction() as connection:
        return LOG.append(connection, prepared)


def recorded(database: Database, prepared: Prepared) -> list[int] | None:
    with database.connection() as connection:
        return LOG.was_recorded(connection, prepared)


def test_a_commit_whose_answer_was_lost_is_found_by_the_ids_of_its_events(db: Database) -> None:
    one, other = uuid4(), uuid4()
    prepared = LOG.prepare([noted(one, 0, "a", "b"), noted(other, 0, "c")])
    with cutting(db.url, b"COMMIT", Cut.ANSWER) as url, Database(url) as cut, pytest.raises(OutcomeUnknownError):
        commit(cut, prepared)

    with pytest.raises(ConflictError):
        commit(db, prepared)

    with db.connection() as connection:
        stored = [event.position for stream in (one, other) for event in LOG.stream(connection, stream)]
    assert recorded(db, prepared) == stored
    assert (texts(db, one), texts(db, other)) == (["a", "b"], ["c"])


def test_a_commit_that_never_arrived_is_repeated(db: Database) -> None:
    stream = uuid4()
    prepared = LOG.prepare([noted(stream, 0, "a")])
    with cutting(db.url, b"COMMIT", Cut.BEFORE) as url, Database(url) as cut, pytest.raises(OutcomeUnknownError):
        commit(cut, prepared)

    positions = commit(db, prepared)

    assert recorded(db, prepared) == positions
    assert texts(db, stream) == ["a"]


def test_a_connection_cut_before_the_commit_leaves_nothing(db: Database) -> None:
    stream = uuid4()
    with cutting(db.url, b"test.noted.v1", Cut.ANSWER) as url, Database(url) as cut:
        with pytest.raises(NotReachableError) as raised:
            commit(cut, LOG.prepare([noted(stream, 0, "a")]))

        assert not isinstance(raised.value, OutcomeUnknownError)
        assert texts(cut, stream) == []


def test_somebody_elses_equal_event_is_not_taken_for_ours(db: Database) -> None:
    stream = uuid4()
    theirs, ours = LOG.prepare([noted(stream, 0, "same")]), LOG.prepare([noted(stream, 0, "same")])
    commit(db, theirs)

    with pytest.raises(ConflictError):
        commit(db, ours)

    assert recorded(db, ours) is None
    assert recorded(db, theirs) is not None


def test_an_append_of_which_only_a_part_is_there_is_not_ours(db: Database) -> None:
    stream = uuid4()
    first = noted(stream, 0, "a")
    whole = LOG.prepare([first, noted(uuid4(), 0, "b")])
    commit(db, Prepared(whole.events[:1]))

    assert recorded(db, whole) is None


@pytest.mark.parametrize("commits", [True, False])
def test_a_repeat_waits_for_the_earlier_transaction_to_end_either_way(db: Database, commits: bool) -> None:
    stream = uuid4()
    prepared = LOG.prepare([noted(stream, 0, "a")])
    with ThreadPoolExecutor(1) as pool, db.connect() as earlier:
        earlier.execute("begin")
        positions = LOG.append(earlier, prepared)
        assert recorded(db, prepared) is None
        repeat = pool.submit(commit, db, prepared)
        earlier.execute("commit" if commits else "rollback")

        if commits:
            assert isinstance(repeat.exception(10), ConflictError)
            assert recorded(db, prepared) == positions
        else:
            positions = repeat.result(10)
            assert recorded(db, prepared) == positions
    assert texts(db, stream) == ["a"]


def test_the_recorder_answers_with_the_positions_of_its_own_lost_attempt(db: Database) -> None:
    stream = uuid4()
    events = LOG.prepare([noted(stream, 0, "a", "b")]).events
    with cutting(db.url, b"test.noted.v1", Cut.ANSWER) as url, Database(url) as cut:
        positions = LogRecorder(cut.datastore).insert_events(events)

    assert texts(db, stream) == ["a", "b"]
    with db.connection() as connection:
        assert positions == [event.position for event in LOG.stream(connection, stream)]


def test_a_session_ended_by_the_server_while_idle_is_replaced_unnoticed(db: Database, admin_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        backends = set(pool.map(lambda _: backend(db), range(8)))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for pid in backends:
            admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))

    assert {backend(db) for _ in range(8)}.isdisjoint(backends)


def backend(database: Database) -> int:
    with database.connection() as connection:
        return connection.info.backend_pid
