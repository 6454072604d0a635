"""Snapshots: the newest state of a stream, found under its topic only."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from pydantic import BaseModel

from haulage.infra.postgres.database import Database
from haulage.infra.postgres.snapshots import Snapshots

STREAM = uuid4()


class Sum(BaseModel):
    total: int


class Renamed(BaseModel):
    sum: int


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4) as database:
        yield database


@pytest.fixture
def snapshots(db: Database) -> Snapshots:
    return Snapshots(db)


def test_the_newest_snapshot_is_loaded_with_its_version(snapshots: Snapshots) -> None:
    snapshots.save(STREAM, 10, "sum.state.v1", Sum(total=55))
    snapshots.save(STREAM, 20, "sum.state.v1", Sum(total=210))

    assert snapshots.load(STREAM, "sum.state.v1", Sum) == (20, Sum(total=210))


def test_a_stream_without_a_snapshot_has_none(snapshots: Snapshots) -> None:
    assert snapshots.load(STREAM, "sum.state.v1", Sum) is None


def test_saving_again_changes_nothing(snapshots: Snapshots) -> None:
    for _ in range(2):
        snapshots.save(STREAM, 10, "sum.state.v1", Sum(total=55))

    assert snapshots.load(STREAM, "sum.state.v1", Sum) == (10, Sum(total=55))


def test_older_snapshots_of_the_stream_go_and_other_streams_stay(snapshots: Snapshots, db: Database) -> None:
    other = uuid4()
    snapshots.save(other, 5, "sum.state.v1", Sum(total=15))
    for version in (10, 20, 30):
        snapshots.save(STREAM, version, "sum.state.v1", Sum(total=version))

    with db.connection() as connection:
        rows = connection.execute("select originator_id, originator_version from haulage.snapshots").fetchall()
    assert sorted(rows, key=lambda row: row[1]) == [(other, 5), (STREAM, 30)]


def test_a_snapshot_saved_late_does_not_hide_a_newer_one(snapshots: Snapshots) -> None:
    snapshots.save(STREAM, 20, "sum.state.v1", Sum(total=210))
    snapshots.save(STREAM, 10, "sum.state.v1", Sum(total=55))

    assert snapshots.load(STREAM, "sum.state.v1", Sum) == (20, Sum(total=210))


def test_a_state_with_other_fields_takes_the_place_of_the_old_one_under_its_own_topic(snapshots: Snapshots) -> None:
    snapshots.save(STREAM, 10, "sum.state.v1", Sum(total=55))
    assert snapshots.load(STREAM, "sum.state.v2", Renamed) is None

    snapshots.save(STREAM, 10, "sum.state.v2", Renamed(sum=55))

    assert snapshots.load(STREAM, "sum.state.v2", Renamed) == (10, Renamed(sum=55))


def test_a_snapshot_that_cannot_be_read_is_as_good_as_none(snapshots: Snapshots) -> None:
    snapshots.save(STREAM, 10, "sum.state.v1", Renamed(sum=55))

    assert snapshots.load(STREAM, "sum.state.v1", Sum) is None


def test_processes_that_save_at_the_same_time_do_no_harm(snapshots: Snapshots) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: snapshots.save(STREAM, n % 3, "sum.state.v1", Sum(total=n % 3)), range(60)))

    assert snapshots.load(STREAM, "sum.state.v1", Sum) == (2, Sum(total=2))
