"""The projector: the views hold what the log says, whoever runs, in whatever groups, whatever is rebuilt meanwhile."""

from collections.abc import Iterator
from random import Random
from threading import Event, Thread

import psycopg
import pytest
from histories import REQUESTED, STARTED, Told, applied, compensated, made_up, rejected
from views_samples import LEDGER, LOG, PROGRESS, TIMELINE, expected_rows, rows, whole_log, write

from haulage.domain.errors import NotFoundError
from haulage.domain.event import Recorded
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import BusyError
from haulage.infra.postgres.views.projection import PROJECTIONS, Projection
from haulage.infra.projector import Projector
from haulage.projections import progress


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=8, application_name="test") as opened:
        yield opened


def history(seed: int, operations: int = 6) -> Told:
    told = made_up(Random(seed), operations)
    while len(told.recorded) < 40:
        seed += 1
        told = made_up(Random(seed), operations)
    return told


def assert_up_to_date(db: Database) -> None:
    for projection in PROJECTIONS:
        assert rows(db, projection) == expected_rows(db, projection)
        assert rows(db, projection)


@pytest.mark.parametrize("group_events", [1, 3, 7, 1000])
def test_the_views_are_the_same_whatever_groups_the_log_is_read_in(db: Database, group_events: int) -> None:
    write(db, history(group_events))

    Projector(db, LOG, group_events=group_events).catch_up()

    assert_up_to_date(db)


def test_events_that_come_later_are_added_to_what_is_there(db: Database) -> None:
    told = history(1)
    projector = Projector(db, LOG)
    for start in range(0, len(told.recorded), 9):
        write(db, told.recorded[start : start + 9])
        projector.catch_up()

    assert_up_to_date(db)


def test_nothing_new_is_nothing_done(db: Database) -> None:
    write(db, history(2))
    projector = Projector(db, LOG)

    assert projector.catch_up() > 0
    assert projector.run_once() == 0


def test_large_events_come_in_smaller_groups_and_at_least_one(db: Database) -> None:
    told = history(3)
    write(db, told)

    assert Projector(db, LOG, group_bytes=1).run_once() == 1
    assert 1 < Projector(db, LOG, group_bytes=2000).run_once() < 15


def test_a_pool_of_one_connection_is_enough(db: Database, database_url: str) -> None:
    write(db, history(4))
    with Database(database_url, size=1, wait_seconds=0.5) as narrow:
        projector = Projector(narrow, LOG)
        projector.catch_up()
        projector.rebuild("ledger")
        projector.catch_up()

    assert_up_to_date(db)


def test_nothing_is_written_or_locked_before_the_rows_are_worked_out(db: Database) -> None:
    write(db, history(5))
    held = []

    def look(views: progress.Views, recorded: Recorded) -> progress.Views:
        with db.connection() as connection:
            held.append(LOG.holder(connection))
        return progress.fold(views, recorded)

    Projector(db, LOG, [Projection("progress", look, PROGRESS.rows)]).run_once()

    assert held
    assert set(held) == {None}


# -- several at once ---------------------------------------------------------------------------------------------------
def during(projection: Projection, what: "Interruption") -> Projection:
    """The projection, with something that happens once while its rows are being worked out."""

    def fold(views: object, recorded: Recorded) -> object:
        what()
        return projection.fold(views, recorded)

    return Projection(projection.name, fold, projection.rows)


class Interruption:
    def __init__(self, *projectors: Projector, rebuild: str | None = None) -> None:
        self.projectors, self.rebuild, self.happened = projectors, rebuild, False

    def __call__(self) -> None:
        if not self.happened:
            self.happened = True
            for projector in self.projectors:
                if self.rebuild:
                    projector.rebuild(self.rebuild)
                projector.run_once()


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_a_group_that_somebody_else_took_in_meanwhile_is_dropped(
    db: Database, projection: Projection, begun: bool
) -> None:
    told = history(6)
    if begun:
        write(db, told.recorded[:20])
        Projector(db, LOG).catch_up()
    write(db, told.recorded[20 * begun :])
    # They have got further than the late one would.
    other = Interruption(Projector(db, LOG))
    late = Projector(db, LOG, [during(projection, other)], group_events=7)

    late.run_once()

    Projector(db, LOG).catch_up()
    assert other.happened
    assert [status.stopped_error for status in late.status()] == [None]
    assert_up_to_date(db)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_a_group_read_before_a_rebuild_is_dropped_even_where_the_position_is_the_same_again(
    db: Database, projection: Projection
) -> None:
    told = history(7)
    write(db, told.recorded[:20])
    projector = Projector(db, LOG)
    projector.catch_up()
    write(db, told.recorded[20:])
    # Emptied, and taken in up to the very position from which the late one has read.
    other = Interruption(Projector(db, LOG, [projection], group_events=20), rebuild=projection.name)
    late = Projector(db, LOG, [during(projection, other)])

    late.run_once()

    assert {status.position for status in late.status()} == {whole_log(db)[19].position}
    Projector(db, LOG).catch_up()
    assert_up_to_date(db)


def test_a_view_emptied_while_its_rows_were_read_does_not_stop(db: Database) -> None:
    told = Told()
    it = told.operation(*STARTED, applied(1, 10))
    write(db, told)
    Projector(db, LOG).catch_up()
    told.that(it, compensated(1, 10))
    write(db, told.recorded[-1:])

    class EmptiedRows:
        TABLE = LEDGER.rows.TABLE
        save = staticmethod(LEDGER.rows.save)

        @staticmethod
        def load(connection: object, events: object) -> dict[object, object]:
            Projector(db, LOG).rebuild("ledger")
            return LEDGER.rows.load(connection, events)  # type: ignore[arg-type]

    late = Projector(db, LOG, [Projection("ledger", LEDGER.fold, EmptiedRows())])
    late.run_once()

    assert [status.stopped_error for status in late.status()] == [None]
    Projector(db, LOG).catch_up()
    assert_up_to_date(db)


def test_two_projectors_and_rebuilds_at_any_time_leave_the_views_as_the_log_has_them(db: Database) -> None:
    """F30: events arrive, two projectors run, and each view is emptied again and again."""
    told = history(8, operations=20)
    written = Event()

    def keep_up(group_events: int) -> None:
        projector = Projector(db, LOG, group_events=group_events)
        while not written.is_set():
            projector.run_once()

    def rebuild() -> None:
        projector = Projector(db, LOG)
        for name in Random(1).choices(["progress", "ledger", "timeline"], k=15):
            projector.rebuild(name)

    threads = [Thread(target=keep_up, args=(3,)), Thread(target=keep_up, args=(11,)), Thread(target=rebuild)]
    for thread in threads:
        thread.start()
    write(db, told, group=3)
    threads[-1].join()
    written.set()
    for thread in threads:
        thread.join()
    Projector(db, LOG).catch_up()

    statuses = Projector(db, LOG).status()
    assert sum(status.generation for status in statuses) == 15
    assert [status.stopped_error for status in statuses] == [None, None, None]
    assert_up_to_date(db)


# -- rebuilding --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_a_rebuilt_view_equals_the_live_one(db: Database, projection: Projection) -> None:
    write(db, history(9))
    projector = Projector(db, LOG, group_events=10)
    projector.catch_up()
    live = rows(db, projection)

    projector.rebuild(projection.name)
    assert rows(db, projection) == []
    projector.catch_up()

    assert rows(db, projection) == live


def test_the_other_views_go_on_while_one_is_rebuilt(db: Database) -> None:
    told = history(10)
    write(db, told.recorded[:-5])
    projector = Projector(db, LOG, group_events=10)
    projector.catch_up()
    projector.rebuild("ledger")
    write(db, told.recorded[-5:])

    projector.run_once()

    behind = {status.name: status.behind_events for status in projector.status()}
    assert (behind["progress"], behind["timeline"]) == (0, 0)
    assert behind["ledger"] == len(told.recorded) - 10


def test_views_that_meet_share_the_reading_from_there_on(db: Database) -> None:
    told = history(11)
    write(db, told)
    Projector(db, LOG, [PROGRESS, TIMELINE], group_events=3).run_once()

    # The ledger reads the first three, and all three views together the rest.
    assert Projector(db, LOG, group_events=7).catch_up() == len(told.recorded)


def test_views_that_meet_at_the_end_of_a_log_that_grows_share_the_reading_too(db: Database) -> None:
    told = history(11)
    write(db, told.recorded[:-3])
    projector = Projector(db, LOG)
    projector.catch_up()
    projector.rebuild("ledger")

    read = []
    for recorded in told.recorded[-3:]:
        write(db, [recorded])
        read.append(projector.run_once())

    assert read == [len(told.recorded) - 2, 1, 1]


def test_an_unknown_view_is_refused_by_name(db: Database) -> None:
    with pytest.raises(NotFoundError, match="no projection `progres`; there are: progress, ledger, timeline"):
        Projector(db, LOG).rebuild("progres")


def test_a_rebuild_that_has_to_wait_for_a_reader_gives_up_and_changes_nothing(db: Database) -> None:
    write(db, history(12))
    projector = Projector(db, LOG, rebuild_wait_seconds=0.05)
    projector.catch_up()

    with db.transaction() as reader:
        reader.execute("select from haulage.progress limit 1")
        with pytest.raises(BusyError):
            projector.rebuild("progress")

    assert projector.status()[0].generation == 0
    assert_up_to_date(db)


# -- what stops a view -------------------------------------------------------------------------------------------------
def store_garbage(admin_url: str, after: int, topic: str = "chunk.applied.v1") -> int:
    """An event that can't be decoded, behind all others; its position."""
    position = after + 1
    with psycopg.connect(admin_url) as connection:
        connection.execute(
            "insert into haulage.events (originator_id, originator_version, topic, state, notification_id)"
            " values (gen_random_uuid(), 1, %s, '{', %s)",
            (topic, position),
        )
    return position


@pytest.mark.parametrize("topic", ["chunk.applied.v1", "chunk.vanished.v9"])
def test_an_event_that_can_not_be_read_stops_the_views_just_before_it(db: Database, admin_url: str, topic: str) -> None:
    told = history(13)
    write(db, told)
    position = store_garbage(admin_url, whole_log(db)[-1].position, topic)
    projector = Projector(db, LOG)

    projector.catch_up()

    for status in projector.status():
        assert status.stopped_position == position
        assert "cannot be read" in (status.stopped_error or "")
        assert status.stopped_at is not None
        assert status.behind_events == 1
    for projection in PROJECTIONS:
        assert len(rows(db, projection)) > 0


class NotYetError(Exception):
    pass


def refusing(projection: Projection, position: int) -> Projection:
    def fold(views: object, recorded: Recorded) -> object:
        if recorded.position == position:
            raise NotYetError("not yet")
        return projection.fold(views, recorded)

    return Projection(projection.name, fold, projection.rows)


def test_a_view_that_fails_at_an_event_takes_in_those_before_it_and_the_others_go_on(db: Database) -> None:
    write(db, history(14))
    log = whole_log(db)
    projector = Projector(db, LOG, [refusing(PROGRESS, log[20].position), LEDGER, TIMELINE])

    projector.catch_up()

    first, ledger, timeline = projector.status()
    assert (first.position, first.stopped_position) == (log[19].position, log[20].position)
    assert "NotYetError: not yet" in (first.stopped_error or "")
    assert (ledger.position, timeline.position) == (log[-1].position, log[-1].position)
    assert (ledger.stopped_position, timeline.stopped_position) == (None, None)


def test_a_stopped_view_is_not_tried_again_and_again(db: Database) -> None:
    write(db, history(15))
    projector = Projector(db, LOG, [refusing(PROGRESS, whole_log(db)[0].position)])
    projector.catch_up()
    since = projector.status()[0].stopped_at

    assert projector.run_once() == 0
    assert projector.status()[0].stopped_at == since


def test_a_newer_version_goes_on_where_a_view_had_stopped(db: Database) -> None:
    write(db, history(16))
    older = Projector(db, LOG, [refusing(PROGRESS, whole_log(db)[20].position)])
    older.catch_up()

    Projector(db, LOG).catch_up()

    assert_up_to_date(db)
    assert [status.stopped_error for status in older.status()] == [None]


def test_a_rebuild_forgets_what_stopped_the_view(db: Database) -> None:
    write(db, history(17))
    projector = Projector(db, LOG, [refusing(PROGRESS, whole_log(db)[0].position)])
    projector.catch_up()
    assert projector.status()[0].stopped_error

    projector.rebuild("progress")

    assert projector.status()[0].stopped_error is None


def test_a_row_that_the_database_refuses_stops_the_view_at_the_event_it_came_from(db: Database) -> None:
    told = Told()
    for version in (1, 2, 2**40, 3):
        told.operation(REQUESTED.model_copy(update={"definition_version": version}))
    write(db, told)
    projector = Projector(db, LOG)

    projector.catch_up()

    log = whole_log(db)
    first, ledger, _ = projector.status()
    assert (first.position, first.stopped_position) == (log[1].position, log[2].position)
    assert ledger.position == log[3].position
    assert len(rows(db, PROGRESS)) == 2


# -- status ------------------------------------------------------------------------------------------------------------
def test_the_status_tells_how_far_behind_each_view_is(db: Database) -> None:
    told = history(18)
    write(db, told)
    projector = Projector(db, LOG)

    for status in projector.status():
        assert (status.position, status.behind_events) == (0, len(told.recorded))
        assert status.behind_positions == whole_log(db)[-1].position
        assert status.behind_seconds > 0

    projector.catch_up()
    for status in projector.status():
        assert (status.behind_positions, status.behind_events, status.behind_seconds) == (0, 0, 0.0)


def test_rejects_of_a_compensated_chunk_stay_in_the_ledger(db: Database) -> None:
    told = Told()
    it = told.operation(*STARTED, applied(1, 10, rejected(4)))
    write(db, told)
    projector = Projector(db, LOG)
    projector.catch_up()
    told.that(it, compensated(1, 10))
    write(db, told.recorded[-1:])
    projector.catch_up()

    (row,) = rows(db, LEDGER)
    entry = dict(zip(LEDGER.rows.TABLE.columns, row, strict=True))
    assert entry["rejected"] == 1
    assert entry["compensated_position"] == whole_log(db)[-1].position
