"""What readers ask of the views."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from histories import REQUESTED, STARTED, Told, applied, compensated, made_up, planned, rejected, skipped
from views_samples import LOG, whole_log, write

from haulage.domain.items import Counts, OutcomeKind
from haulage.domain.operation import OperationCompleted, StepCompleted, StepStarted
from haulage.domain.status import Status
from haulage.infra.postgres import views
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.views import Filters
from haulage.infra.projector import Projector
from haulage.projections import progress, timeline


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4, application_name="test") as opened:
        yield opened


def take_in(db: Database, told: Told) -> None:
    write(db, told)
    Projector(db, LOG).catch_up()


# -- progress ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_progress_comes_back_as_it_was_folded(db: Database, seed: int) -> None:
    take_in(db, made_up(Random(seed)))
    expected: progress.Views = {}
    for recorded in whole_log(db):
        expected = progress.fold(expected, recorded)

    with db.connection() as connection:
        for operation, found in expected.items():
            assert views.progress(connection, operation) == found


def test_an_operation_nobody_asked_for_has_no_progress_no_timeline_and_no_items(db: Database) -> None:
    with db.connection() as connection:
        assert views.progress(connection, uuid4()) is None
        assert views.timeline(connection, uuid4()) == []
        assert views.ledger_item(connection, uuid4(), 1) == []
        assert list(views.rejects(connection, uuid4())) == []


def test_the_list_is_newest_first_and_goes_on_where_a_page_ended(db: Database) -> None:
    told = Told()
    requested = [told.operation(REQUESTED) for _ in range(7)]
    take_in(db, told)

    with db.connection() as connection:
        page = views.operations(connection, limit=3)
        pages = [page]
        while page := views.operations(connection, after=views.page_key(page[-1]), limit=3):
            pages.append(page)

    assert [[found.operation for found in page] for page in pages] == [
        requested[6:3:-1],
        requested[3:0:-1],
        requested[:1],
    ]


def test_the_list_can_be_narrowed_to_a_tenant_a_kind_and_statuses(db: Database) -> None:
    told = Told()
    waiting = told.operation(REQUESTED, tenant="acme")
    told.operation(REQUESTED, kind="delete-users")
    running = told.operation(*STARTED, tenant="acme")
    done = told.operation(*STARTED, applied(1, 100), OperationCompleted(counts=Counts(succeeded=100)), tenant="acme")
    take_in(db, told)

    def listed(filters: Filters) -> list[UUID]:
        with db.connection() as connection:
            return [found.operation for found in views.operations(connection, filters)]

    assert listed(Filters(tenant="acme")) == [done, running, waiting]
    assert listed(Filters(tenant="acme", statuses=[Status.REQUESTED, Status.RUNNING])) == [running, waiting]
    assert listed(Filters(statuses=[Status.COMPLETED])) == [done]
    assert listed(Filters(kind="import-users", statuses={Status.REQUESTED})) == [waiting]
    assert listed(Filters(tenant="nobody")) == []


def test_the_list_can_be_narrowed_to_a_time(db: Database) -> None:
    told = Told()
    told.operation(REQUESTED)
    take_in(db, told)
    with db.connection() as connection:
        (found,) = views.operations(connection)
        at, later = found.requested_at, found.requested_at + timedelta(microseconds=1)

        assert views.operations(connection, Filters(requested_from=at, requested_before=later)) == [found]
        assert views.operations(connection, Filters(requested_from=later)) == []
        assert views.operations(connection, Filters(requested_before=at)) == []


def test_what_changed_since_a_position_comes_in_the_order_of_change(db: Database) -> None:
    told = Told()
    first, second = told.operation(*STARTED), told.operation(*STARTED)
    take_in(db, told)
    with db.connection() as connection:
        assert [found.operation for found in views.changed_since(connection, 0)] == [first, second]
        position = views.changed_since(connection, 0)[-1].position
        assert views.changed_since(connection, position) == []

    told.that(first, applied(1, 10))
    write(db, told.recorded[-1:])
    Projector(db, LOG).catch_up()

    with db.connection() as connection:
        (found,) = views.changed_since(connection, position)
        assert (found.operation, found.done) == (first, 10)
        assert [found.operation for found in views.changed_since(connection, 0, limit=1)] == [second]


# -- the ledger --------------------------------------------------------------------------------------------------------
def test_each_item_is_found_in_its_chunk_and_in_each_step(db: Database) -> None:
    told = Told()
    it = told.operation(REQUESTED, planned(30, 10, ("second-to-none", "first")), StepStarted(step="second-to-none"))
    other = told.operation(*STARTED, applied(1, 30, rejected(15)))
    chunks = [applied(first, first + 9, *[rejected(12)][: first == 11], step="second-to-none") for first in (21, 1, 11)]
    told.that(it, *chunks, StepCompleted(step="second-to-none", counts=Counts(succeeded=29, rejected=1)))
    told.that(it, StepStarted(step="first"), applied(11, 20, skipped(15), step="first"))
    take_in(db, told)

    def found(ordinal: int) -> list[tuple[str, OutcomeKind, int]]:
        with db.connection() as connection:
            items = views.ledger_item(connection, it, ordinal)
        return [(item.step, item.outcome.kind, item.chunk.first) for item in items]

    assert found(1) == [("second-to-none", OutcomeKind.SUCCEEDED, 1)]
    assert found(12) == [("second-to-none", OutcomeKind.REJECTED, 11), ("first", OutcomeKind.SUCCEEDED, 11)]
    assert found(15) == [("second-to-none", OutcomeKind.SUCCEEDED, 11), ("first", OutcomeKind.SKIPPED, 11)]
    assert found(30) == [("second-to-none", OutcomeKind.SUCCEEDED, 21)]
    assert found(31) == []
    assert found(0) == []
    with db.connection() as connection:
        assert views.ledger_item(connection, other, 15)[0].outcome.code == "email_taken"


def test_an_item_between_applied_chunks_has_no_outcome_yet(db: Database) -> None:
    told = Told()
    it = told.operation(*STARTED, applied(1, 10), applied(21, 30))
    take_in(db, told)

    with db.connection() as connection:
        assert views.ledger_item(connection, it, 15) == []


def test_a_compensated_item_says_so(db: Database) -> None:
    told = Told()
    it = told.operation(*STARTED, applied(1, 10), compensated(1, 10, skipped(3)))
    take_in(db, told)

    with db.connection() as connection:
        assert views.ledger_item(connection, it, 2)[0].undone is True
        assert (views.ledger_item(connection, it, 3)[0].undone, views.ledger_item(connection, it, 3)[0].left) == (
            False,
            "exists",
        )


def test_all_rejects_come_in_the_order_of_items_however_many_chunks_they_are_in(db: Database) -> None:
    told = Told()
    chunks = list(range(50))
    Random(1).shuffle(chunks)
    it = told.operation(REQUESTED, planned(500), StepStarted(step="import"))
    for chunk in chunks:
        first = chunk * 10 + 1
        exceptions = [rejected(first + 7), skipped(first + 1), rejected(first, "email_invalid")] if chunk % 7 else []
        told.that(it, applied(first, first + 9, *exceptions))
    take_in(db, told)

    with db.connection() as connection:
        found = list(views.rejects(connection, it))

    expected = [ordinal for chunk in range(50) if chunk % 7 for ordinal in (chunk * 10 + 1, chunk * 10 + 8)]
    assert [reject.ordinal for reject in found] == expected
    assert found[0] == (11, "import", "email_invalid", "email")
    assert found[1] == (18, "import", "email_taken", "email")


def test_rejects_of_two_steps_are_all_there(db: Database) -> None:
    told = Told()
    it = told.operation(REQUESTED, planned(10, 10, ("second", "first")), StepStarted(step="second"))
    told.that(it, applied(1, 10, rejected(3), step="second"), applied(1, 10, rejected(5), step="first"))
    take_in(db, told)

    with db.connection() as connection:
        assert [(r.step, r.ordinal) for r in views.rejects(connection, it)] == [("first", 5), ("second", 3)]


# -- the timeline ------------------------------------------------------------------------------------------------------
def test_the_timeline_comes_back_as_it_was_folded_oldest_first(db: Database) -> None:
    told = made_up(Random(5), operations=1)
    take_in(db, told)
    expected: timeline.Views = {}
    for recorded in whole_log(db):
        expected = timeline.fold(expected, recorded)

    with db.connection() as connection:
        found = views.timeline(connection, told.recorded[0].context.operation)

    assert found == sorted(expected.values(), key=lambda entry: entry.position)


# -- plans -------------------------------------------------------------------------------------------------------------
def test_an_item_of_a_large_operation_is_found_without_reading_the_others(db: Database, admin_url: str) -> None:
    told = Told()
    for _ in range(2):
        it = told.operation(REQUESTED, planned(20_000), StepStarted(step="import"))
        told.that(it, *(applied(first, first + 9) for first in range(1, 20_001, 10)))
    take_in(db, told)
    with psycopg.connect(admin_url, autocommit=True) as admin, db.connection() as connection:
        admin.execute("vacuum analyze haulage.ledger")
        before = rows_read(admin)

        assert views.ledger_item(connection, it, 4711)[0].chunk.first == 4711

        # Statistics are told when a session comes to rest, or is asked to.
        connection.execute("select pg_stat_force_next_flush()")
        assert 0 < rows_read(admin) - before < 20


def rows_read(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'ledger'"
    ).fetchone()
    assert row is not None
    return int(row[0])
