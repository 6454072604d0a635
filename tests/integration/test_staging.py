"""Staging a file into PostgreSQL: resumed after any interruption, sealed once, read by range, erased item by item."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from psycopg import Connection

from haulage.domain.errors import FencedError, InputError, NotFoundError
from haulage.domain.manifest import Items, ManifestSummary
from haulage.domain.undo import UndoRecord
from haulage.infra.files.source import open_source
from haulage.infra.postgres import undo
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.leaves import PackedLeaves
from haulage.infra.postgres.manifest import PostgresManifest
from haulage.infra.staging import Hold, Remainder, Stager

COLUMNS = ("email", "name")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        yield db


@pytest.fixture
def manifest() -> PostgresManifest:
    return PostgresManifest()


def held(_: Connection[Any]) -> None:
    """A claim that is never lost."""


def row(ordinal: int) -> list[str]:
    return [f"user{ordinal}@example.com", f"Name {ordinal}"]


def write_rows(path: Path, count: int, first: int = 1) -> Path:
    path.write_text("email,name\n" + "".join(",".join(row(i)) + "\n" for i in range(first, first + count)))
    return path


def eager(db: Database, block_items: int = 100) -> Stager:
    """Stores each block in a transaction of its own."""
    return Stager(db, PostgresManifest(), small_items=0, block_items=block_items, gather_seconds=0)


def stage(stager: Stager, path: Path, operation: UUID, hold: Hold = held) -> Remainder:
    with open_source(path, required=COLUMNS) as source:
        return stager.stage(source, operation, hold=hold)


def finish(db: Database, remainder: Remainder) -> ManifestSummary:
    with db.transaction() as connection:
        return remainder.store(connection)


def staged(db: Database, path: Path, operation: UUID, block_items: int = 100) -> ManifestSummary:
    return finish(db, stage(eager(db, block_items), path, operation))


def items(db: Database, operation: UUID, first: int, last: int) -> Items:
    with db.connection() as connection:
        return PostgresManifest().items(connection, operation, first, last)


def blocks(db: Database, operation: UUID) -> int:
    with db.connection() as connection:
        found = connection.execute("select count(*) from haulage.blocks where operation = %s", (operation,)).fetchone()
    assert found
    return int(found[0])


def interrupted_after(transactions: int) -> Hold:
    """Loses the claim at the beginning of the transaction after so many."""
    seen = 0

    def hold(_: Connection[Any]) -> None:
        nonlocal seen
        if seen == transactions:
            raise FencedError("the claim has gone to another session")
        seen += 1

    return hold


# -- all of it -------------------------------------------------------------------------------------------------------
def test_every_row_of_a_file_is_an_item_and_the_summary_says_which(
    db: Database, manifest: PostgresManifest, tmp_path: Path
) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 1234), uuid4()
    summary = staged(db, path, operation)
    assert (summary.items, summary.blocks, summary.input_bytes) == (1234, 13, path.stat().st_size)
    assert summary.input_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    found = items(db, operation, 1, 1234)
    assert (found.first, found.columns) == (1, COLUMNS)
    assert found.contents == [row(i) for i in range(1, 1235)]
    with db.connection() as connection:
        assert manifest.summary(connection, operation) == summary
        assert manifest.verify(connection, operation, summary.manifest_digest) == []


@pytest.mark.parametrize(
    ("first", "last"), [(1, 1), (100, 100), (101, 101), (50, 250), (100, 101), (95, 305), (305, 305)]
)
def test_items_are_read_by_range_across_the_borders_of_blocks(
    db: Database, tmp_path: Path, first: int, last: int
) -> None:
    operation = uuid4()
    staged(db, write_rows(tmp_path / "users.csv", 305), operation)
    assert items(db, operation, first, last).contents == [row(i) for i in range(first, last + 1)]


@pytest.mark.parametrize(("first", "last"), [(300, 306), (306, 306), (400, 500)])
def test_items_that_are_not_there_are_not_found(db: Database, tmp_path: Path, first: int, last: int) -> None:
    operation = uuid4()
    staged(db, write_rows(tmp_path / "users.csv", 305), operation)
    with pytest.raises(NotFoundError, match="has no items"):
        items(db, operation, first, last)


def test_objects_come_back_as_they_were(db: Database, tmp_path: Path) -> None:
    path, operation = tmp_path / "users.ndjson", uuid4()
    objects = [{"email": f"u{i}@example.com", "tags": ["é", i], "nested": {"a": None}} for i in range(250)]
    path.write_bytes(b"\n".join(map(orjson.dumps, objects)))
    summary = finish(db, stage(eager(db), path, operation))
    found = items(db, operation, 1, 250)
    assert (summary.items, found.columns, found.contents) == (250, None, objects)


# -- small inputs ----------------------------------------------------------------------------------------------------
def test_a_small_input_is_left_to_the_transaction_of_the_caller(db: Database, tmp_path: Path) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 200), uuid4()
    stager = Stager(db, PostgresManifest(), small_items=200, gather_seconds=0, block_items=100)
    remainder = stage(stager, path, operation, hold=interrupted_after(0))
    assert (remainder.stored, remainder.total, blocks(db, operation)) == (0, 200, 0)
    before = remainder.items()
    with db.transaction() as connection:
        summary = remainder.store(connection)
        assert PostgresManifest().items(connection, operation, 1, 200) == before
    assert (summary.items, blocks(db, operation)) == (200, 2)


def test_nothing_is_left_behind_where_the_callers_transaction_fails(db: Database, tmp_path: Path) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 10), uuid4()
    remainder = stage(Stager(db, PostgresManifest()), path, operation)
    with pytest.raises(ZeroDivisionError), db.transaction() as connection:
        assert remainder.store(connection).items / 0
    assert blocks(db, operation) == 0
    assert finish(db, stage(Stager(db, PostgresManifest()), path, operation)).items == 10


def test_a_header_alone_makes_a_manifest_without_items(db: Database, tmp_path: Path) -> None:
    operation = uuid4()
    summary = staged(db, write_rows(tmp_path / "users.csv", 0), operation)
    assert (summary.items, summary.blocks, summary.manifest_digest) == (0, 0, hashlib.sha256().hexdigest())


def test_the_first_transaction_alone_tells_that_staging_began(db: Database, tmp_path: Path) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 1000), uuid4()
    began: list[int] = []
    with open_source(path) as source, pytest.raises(FencedError):
        eager(db).stage(source, operation, hold=interrupted_after(3), on_first_block=lambda _: began.append(1))
    with open_source(path) as source:
        eager(db).stage(source, operation, hold=held, on_first_block=lambda _: began.append(2))
    assert began == [1]


# -- interruptions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("transactions", [0, 1, 4, 9, 10])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_interrupted_staging_goes_on_behind_the_last_block(
    db: Database, tmp_path: Path, transactions: int, encoding: str
) -> None:
    path, operation = tmp_path / "users.csv", uuid4()
    rows = [[f"é{i}@example.com", f'N "{i}"\n😀'] for i in range(1000)]
    path.write_text(
        "email,name\n" + "".join('{},"{}"\n'.format(e, n.replace('"', '""')) for e, n in rows), encoding=encoding
    )
    with suppress(FencedError):
        # All blocks may be stored; then it is interrupted before they are sealed.
        stage(eager(db), path, operation, hold=interrupted_after(transactions))
    assert blocks(db, operation) == transactions
    summary = finish(db, stage(eager(db), path, operation))
    assert (summary.items, summary.blocks) == (1000, 10)
    assert summary.input_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert items(db, operation, 1, 1000).contents == rows


STAGE_FOR_EVER = """
import sys, time
from pathlib import Path
from uuid import UUID
from haulage.infra.files.source import open_source
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.leaves import PackedLeaves
from haulage.infra.postgres.manifest import PostgresManifest
from haulage.infra.staging import Stager
with Database(sys.argv[1]) as database, open_source(Path(sys.argv[2])) as source:
    stager = Stager(database, PostgresManifest(), small_items=0, block_items=100, gather_seconds=0)
    with database.transaction() as connection:
        stager.stage(source, UUID(sys.argv[3]), hold=lambda _: None).store(connection)
"""


def test_staging_survives_being_killed_again_and_again(db: Database, database_url: str, tmp_path: Path) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 200_000), uuid4()
    for _ in range(3):
        before = blocks(db, operation)
        stager = subprocess.Popen([sys.executable, "-c", STAGE_FOR_EVER, database_url, str(path), str(operation)])
        deadline = time.monotonic() + 60
        while blocks(db, operation) < before + 50 and stager.poll() is None:
            assert time.monotonic() < deadline
        os.kill(stager.pid, signal.SIGKILL)
        assert stager.wait() == -signal.SIGKILL
    assert blocks(db, operation) < 2000
    summary = staged(db, path, operation)
    assert (summary.items, summary.blocks) == (200_000, 2000)
    assert summary.input_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    for first in range(1, 200_000, 10_000):
        assert items(db, operation, first, first + 9999).contents == [row(i) for i in range(first, first + 10_000)]


def change_size(path: Path) -> None:
    path.write_text(path.read_text() + "x@example.com,X\n")


def change_time(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def change_beginning(path: Path) -> None:
    found = path.stat()
    path.write_text(path.read_text().replace("user7@", "user8@"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("change", [change_size, change_time, change_beginning])
def test_an_input_that_changed_meanwhile_is_refused(db: Database, tmp_path: Path, change: Any) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 1000), uuid4()
    with pytest.raises(FencedError):
        stage(eager(db), path, operation, hold=interrupted_after(3))
    change(path)
    with pytest.raises(InputError, match="changed while it was being staged"):
        stage(eager(db), path, operation)
    assert blocks(db, operation) == 3


def test_a_private_copy_may_be_made_anew(db: Database, tmp_path: Path) -> None:
    operation = uuid4()
    for attempt, hold in enumerate([interrupted_after(3), held]):
        path = write_rows(tmp_path / f"copy-{attempt}.csv", 1000)
        os.utime(path, ns=(attempt, attempt))
        with open_source(path, name="object users.csv", private=True) as source:
            try:
                remainder = eager(db).stage(source, operation, hold=hold)
            except FencedError:
                continue
        assert finish(db, remainder).items == 1000


def test_a_file_that_is_written_to_while_it_is_read_is_refused(db: Database, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "users.csv", 1000)

    def write_more(_: Connection[Any]) -> None:
        with path.open("a") as file:
            file.write("late@example.com,Late\n")

    with pytest.raises(InputError, match="somebody wrote to it"):
        stage(eager(db), path, uuid4(), hold=write_more)


def test_two_stagers_never_both_add_a_block(db: Database, tmp_path: Path) -> None:
    path, operation = write_rows(tmp_path / "users.csv", 1000), uuid4()
    first = stage(Stager(db, PostgresManifest()), path, operation)
    second = stage(Stager(db, PostgresManifest()), path, operation)
    finish(db, first)
    with pytest.raises(psycopg.errors.UniqueViolation):
        finish(db, second)


# -- erasure and verification ----------------------------------------------------------------------------------------
MARKER = "marker-of-a-person"


def test_an_erased_person_is_nowhere_and_every_digest_still_verifies(
    db: Database, manifest: PostgresManifest, tmp_path: Path
) -> None:
    path, operation = tmp_path / "users.csv", uuid4()
    rows = [row(i) for i in range(1, 301)]
    rows[149] = [f"{MARKER}@example.com", MARKER]
    path.write_text("email,name\n" + "".join(",".join(r) + "\n" for r in rows))
    summary = staged(db, path, operation)
    with db.transaction() as connection:
        assert manifest.erase(connection, operation, [150]) == 1
        assert manifest.erase(connection, operation, [150]) == 0
    found = items(db, operation, 149, 151)
    assert found.contents == [row(149), None, row(151)]
    assert [outcome.code for outcome in found.records().refused] == ["erased"]
    with db.connection() as connection:
        assert manifest.verify(connection, operation, summary.manifest_digest) == []
        stored = connection.execute("select content, salts, erased from haulage.blocks", binary=True).fetchall()
        connection.execute("vacuum haulage.blocks")
    assert not any(
        MARKER.encode() in content for row in stored for content in PackedLeaves(*row).unpack().contents if content
    )


def test_erasing_items_of_several_blocks_at_once_counts_those_that_were_there(
    db: Database, manifest: PostgresManifest, tmp_path: Path
) -> None:
    operation = uuid4()
    summary = staged(db, write_rows(tmp_path / "users.csv", 305), operation)
    with db.transaction() as connection:
        assert manifest.erase(connection, operation, [305, 1, 100, 101, 306, 101, 9999]) == 4
    gone = [i for i, content in enumerate(items(db, operation, 1, 305).contents, 1) if content is None]
    assert gone == [1, 100, 101, 305]
    with db.connection() as connection:
        assert manifest.verify(connection, operation, summary.manifest_digest) == []


@pytest.mark.parametrize(
    "tampering",
    [
        "update haulage.blocks set salts = sha256('') || substr(salts, 33) where number = 2",
        "update haulage.blocks set content = substr(content, 2) where number = 2",
        "update haulage.blocks set content = (select content from haulage.blocks where number = 1) where number = 2",
        "update haulage.blocks set digest = sha256('') where number = 2",
        "delete from haulage.blocks where number = 2",
    ],
)
def test_verifying_names_what_was_tampered_with(
    db: Database, manifest: PostgresManifest, admin_url: str, tmp_path: Path, tampering: str
) -> None:
    operation = uuid4()
    summary = staged(db, write_rows(tmp_path / "users.csv", 305), operation)
    with psycopg.connect(admin_url) as admin:
        admin.execute(tampering)
    with db.connection() as connection:
        wrong = manifest.verify(connection, operation, summary.manifest_digest)
    assert wrong
    assert any("block" in sentence for sentence in wrong)


def test_a_manifest_is_dropped_some_blocks_at_a_time(db: Database, manifest: PostgresManifest, tmp_path: Path) -> None:
    operation, other = uuid4(), uuid4()
    staged(db, write_rows(tmp_path / "users.csv", 1000), operation)
    staged(db, tmp_path / "users.csv", other)
    with db.connection() as connection:
        assert manifest.drop(connection, operation, blocks=4)
        assert manifest.drop(connection, operation, blocks=4)
        assert not manifest.drop(connection, operation, blocks=4)
        assert not manifest.drop(connection, operation, blocks=4)
        assert manifest.facts(connection, operation) is None
    assert (blocks(db, operation), blocks(db, other)) == (0, 10)


def test_the_application_may_not_change_what_identifies_a_block(db: Database, tmp_path: Path) -> None:
    operation = uuid4()
    staged(db, write_rows(tmp_path / "users.csv", 10), operation)
    for change in ("digest = sha256('')", "first = 2", "operation = gen_random_uuid()", "read_digest = sha256('')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as connection:
            connection.execute(f"update haulage.blocks set {change} where true")  # type: ignore[arg-type]


# -- undo records ----------------------------------------------------------------------------------------------------
def test_undo_records_come_back_and_their_digest_verifies(db: Database) -> None:
    operation = uuid4()
    records = [UndoRecord(7, {"name": "é"}), UndoRecord(3, {"name": None, "role": "member"})]
    with db.transaction() as connection:
        digest = undo.keep(connection, operation, "import", 1, 10, records)
        assert undo.load(connection, operation, "import", 1, 10) == records
        assert undo.verify(connection, operation, "import", 1, 10) == digest
        assert undo.load(connection, operation, "import", 11, 20) == []
        assert undo.keep(connection, operation, "import", 11, 20, []) is None


def test_an_erased_undo_record_is_left_out_and_the_digest_still_verifies(db: Database) -> None:
    operation = uuid4()
    with db.transaction() as connection:
        digest = undo.keep(connection, operation, "a", 1, 10, [UndoRecord(i, {"n": i}) for i in range(1, 11)])
        undo.keep(connection, operation, "b", 1, 20, [UndoRecord(i, {"n": i}) for i in (4, 15)])
        assert undo.erase(connection, operation, [4, 99]) == 2
        assert undo.erase(connection, operation, [4]) == 0
        assert [r.ordinal for r in undo.load(connection, operation, "a", 1, 10)] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert [r.ordinal for r in undo.load(connection, operation, "b", 1, 20)] == [15]
        assert undo.verify(connection, operation, "a", 1, 10) == digest
        undo.drop(connection, operation)
        assert undo.verify(connection, operation, "a", 1, 10) is None
