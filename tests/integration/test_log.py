"""Append and read: one process at a time, everything that a caller may rely on."""

from collections.abc import Iterator
from datetime import UTC
from uuid import UUID, uuid4

import psycopg
import pytest
from log_samples import CONTEXT, LOG, Noted, append, append_alone, noted, texts

from haulage.domain.errors import ConflictError, LateAppendError
from haulage.domain.event import Event, NewEvents
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.mapper import UndecodableEventError

TRANSACTION = 1 << 20


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4, application_name="test") as database:
        yield database


def test_what_was_appended_comes_back_with_its_envelope(db: Database) -> None:
    stream = uuid4()

    positions = append_alone(db, noted(stream, 0, "one", "two"))

    with db.connection() as connection:
        first, second = LOG.stream(connection, stream)
        (now,) = connection.execute("select clock_timestamp()").fetchone() or (None,)
    assert [first.position, second.position] == positions
    assert [first.version, second.version] == [1, 2]
    assert first.stream == stream
    assert first.context == CONTEXT
    assert first.event == Noted(text="one")
    assert first.id != second.id
    assert 0 <= (now - first.at).total_seconds() < 60
    assert first.at.tzinfo is UTC


def test_a_position_is_the_transaction_id_and_the_ordinal_within_it(db: Database) -> None:
    with db.transaction() as connection:
        row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        positions = append(connection, noted(uuid4(), 0, "one", "two", "three"))

    assert positions == [row[0] * TRANSACTION + ordinal for ordinal in range(3)]


def test_several_appends_of_one_transaction_get_ordinals_one_after_the_other(db: Database) -> None:
    stream = uuid4()
    with db.transaction() as connection:
        first = append(connection, noted(stream, 0, "one", "two"))
        second = append(connection, noted(stream, 2, "three"))
        third = append(connection, noted(uuid4(), 0, "other"))

    assert first + second + third == list(range(first[0], first[0] + 4))


def test_a_rollback_to_a_savepoint_gives_the_ordinals_back(db: Database) -> None:
    stream = uuid4()
    with db.transaction() as connection:
        (kept,) = append(connection, noted(stream, 0, "kept"))
        with connection.transaction() as savepoint:
            (dropped,) = append(connection, noted(stream, 1, "dropped"))
            raise psycopg.Rollback(savepoint)
        (again,) = append(connection, noted(stream, 1, "again"))

    assert dropped == again == kept + 1
    assert texts(db, stream) == ["kept", "again"]


def test_a_new_transaction_begins_at_ordinal_zero_on_the_same_connection(db: Database) -> None:
    with Database(db.url, size=1) as one:
        first = append_alone(one, noted(uuid4(), 0, "one"))
        second = append_alone(one, noted(uuid4(), 0, "two"))

    assert [position % TRANSACTION for position in first + second] == [0, 0]


def test_many_streams_go_in_one_statement_and_positions_follow_the_order_given(db: Database) -> None:
    streams = [uuid4() for _ in range(500)]

    positions = append_alone(db, *(noted(stream, 0, "a", "b") for stream in streams))

    assert positions == list(range(positions[0], positions[0] + 1000))
    with db.connection() as connection:
        assert [r.stream for r in LOG.read(connection, 0, 1000)] == [s for stream in streams for s in (stream, stream)]
        found = LOG.streams(connection, [*streams, uuid4()])
    assert [len(events) for events in found.values()] == [2] * 500 + [0]


def test_appending_nothing_does_nothing(db: Database) -> None:
    assert append_alone(db) == []
    assert append_alone(db, noted(uuid4(), 0)) == []


def test_a_version_that_is_taken_is_a_conflict(db: Database) -> None:
    stream = uuid4()
    append_alone(db, noted(stream, 0, "first"))

    with pytest.raises(ConflictError, match=str(stream)):
        append_alone(db, noted(stream, 0, "second"))

    assert texts(db, stream) == ["first"]


def test_a_version_without_the_one_before_is_a_conflict(db: Database) -> None:
    stream = uuid4()
    append_alone(db, noted(stream, 0, "first"))

    with pytest.raises(ConflictError, match=f"version 4 of stream {stream} has no version before it"):
        append_alone(db, noted(stream, 3, "fourth"))


def test_a_version_twice_in_one_append_is_a_conflict(db: Database) -> None:
    stream = uuid4()

    with pytest.raises(ConflictError):
        append_alone(db, noted(stream, 0, "one"), noted(stream, 0, "other"))

    assert texts(db, stream) == []


def test_a_conflict_in_one_stream_keeps_the_others_out_too(db: Database) -> None:
    taken, free = uuid4(), uuid4()
    append_alone(db, noted(taken, 0, "first"))

    with pytest.raises(ConflictError):
        append_alone(db, noted(free, 0, "new"), noted(taken, 0, "second"))

    assert texts(db, free) == []


def test_one_append_may_continue_a_stream_that_it_began(db: Database) -> None:
    stream = uuid4()

    append_alone(db, noted(stream, 0, "one"), noted(uuid4(), 0, "other"), noted(stream, 1, "two"))

    assert texts(db, stream) == ["one", "two"]


def test_a_transaction_that_wrote_before_a_streams_last_event_may_not_continue_the_stream(db: Database) -> None:
    stream = uuid4()

    def write_early_and_append_late() -> None:
        with db.transaction() as early:
            early.execute("select pg_current_xact_id()")
            append_alone(db, noted(stream, 0, "first"))
            append(early, noted(stream, 1, "late"))

    with pytest.raises(LateAppendError, match="new transaction"):
        write_early_and_append_late()

    append_alone(db, noted(stream, 1, "in time"))

    assert texts(db, stream) == ["first", "in time"]


def test_a_transaction_that_only_read_before_may_continue_the_stream(db: Database) -> None:
    stream = uuid4()
    with db.transaction() as early:
        early.execute("select count(*) from haulage.events")
        append_alone(db, noted(stream, 0, "first"))
        append(early, noted(stream, 1, "second"))

    assert texts(db, stream) == ["first", "second"]


def test_an_append_at_another_isolation_level_is_refused(db: Database) -> None:
    with db.connect() as connection:
        connection.execute("begin isolation level repeatable read")

        with pytest.raises(psycopg.Error, match="READ COMMITTED"):
            append(connection, noted(uuid4(), 0, "one"))


def test_one_transaction_has_a_limited_number_of_ordinals(db: Database) -> None:
    with db.connect() as connection:
        connection.execute("begin")
        connection.execute("select set_config('haulage.next_ordinal', '1048575', true)")
        append(connection, noted(uuid4(), 0, "the last that fits"))

        with pytest.raises(psycopg.Error, match="1048576"):
            append(connection, noted(uuid4(), 0, "one too many"))


def test_an_event_that_the_log_was_not_told_about_is_refused_before_it_is_stored(db: Database) -> None:
    class Stranger(Event):
        topic = "test.stranger.v1"

    with pytest.raises(ValueError, match=r"test\.stranger\.v1"):
        LOG.prepare([NewEvents(uuid4(), 0, (Stranger(),), CONTEXT)])


def test_a_stream_is_read_after_a_version_and_includes_what_is_not_committed(db: Database) -> None:
    stream = uuid4()
    append_alone(db, noted(stream, 0, "one", "two"))
    with db.transaction() as connection:
        append(connection, noted(stream, 2, "three"))

        assert [recorded.version for recorded in LOG.stream(connection, stream, after=1)] == [2, 3]


def test_a_follower_reads_on_after_its_position_up_to_its_limit(db: Database) -> None:
    positions = append_alone(db, noted(uuid4(), 0, *"abcdef"))
    with db.connection() as connection:
        read = [recorded.position for recorded in LOG.read(connection, positions[1], 3)]
        rest = [recorded.position for recorded in LOG.read(connection, read[-1], 3)]

        assert read == positions[2:5]
        assert rest == positions[5:]
        assert LOG.read(connection, positions[-1], 3) == []


def test_the_head_is_the_last_event_a_follower_would_get(db: Database) -> None:
    with db.connection() as reader:
        assert LOG.head(reader) == 0
        (first,) = append_alone(db, noted(uuid4(), 0, "one"))
        assert LOG.head(reader) == first
        with db.transaction() as open_writer:
            open_writer.execute("select pg_current_xact_id()")
            append_alone(db, noted(uuid4(), 0, "behind the open one"))
            assert LOG.head(reader) == first
        assert LOG.head(reader) > first


def test_events_behind_an_open_transaction_are_held_back_until_it_ends(db: Database) -> None:
    with db.connection() as reader:
        with db.transaction() as open_writer:
            (lower,) = append(open_writer, noted(uuid4(), 0, "lower"))
            (higher,) = append_alone(db, noted(uuid4(), 0, "higher"))

            assert LOG.read(reader, 0, 10) == []
            assert LOG.horizon(reader) <= lower

        assert [recorded.position for recorded in LOG.read(reader, 0, 10)] == [lower, higher]
        assert LOG.horizon(reader) > higher


def test_whoever_holds_the_horizon_back_is_named_with_the_time(db: Database) -> None:
    with db.connection() as reader:
        assert LOG.line_age_seconds(reader) == 0
        with db.transaction() as open_writer:
            open_writer.execute("select pg_current_xact_id()")
            holder = LOG.holder(reader)

            assert holder is not None
            assert holder.backend == open_writer.info.backend_pid
            assert holder.application_name == "test"
            assert 0 < LOG.line_age_seconds(reader) < 60


def test_a_holder_under_another_role_in_another_database_is_seen_too(db: Database, admin_url: str) -> None:
    elsewhere = psycopg.conninfo.make_conninfo(admin_url, dbname="postgres", application_name="elsewhere")
    with psycopg.connect(elsewhere) as other, db.connection() as reader:
        other.execute("select pg_current_xact_id()")

        holder = LOG.holder(reader)

        assert holder is not None
        assert (holder.application_name, holder.database) == ("elsewhere", "postgres")


def test_an_event_that_cannot_be_read_is_named_and_not_skipped(db: Database, admin_url: str) -> None:
    stream = UUID(int=7)
    append_alone(db, noted(stream, 0, "fine"))
    with psycopg.connect(admin_url) as newer:
        newer.execute(
            "select haulage.append(array[%s]::uuid[], array[2]::bigint[], array['test.noted.v9'], array['{}'::bytea])",
            (stream,),
        )

    with (
        db.connection() as connection,
        pytest.raises(UndecodableEventError, match=r"Version 2 of stream .*test\.noted\.v9"),
    ):
        LOG.read(connection, 0, 10)
