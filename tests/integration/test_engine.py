"""The engine on real PostgreSQL, stepped by hand: intake, planner, dispatcher, executor, worker, projector."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from engine_parts import Engine, an_engine, write_labels

from haulage.domain.commands import CancelOperation, PauseOperation, ResumeOperation, RollBackOperation
from haulage.domain.items import Counts
from haulage.domain.status import Status
from haulage.infra.postgres import work


@pytest.fixture
def engine(database_url: str, admin_url: str) -> Iterator[Engine]:
    with an_engine(database_url, admin_url) as made:
        yield made


def shelf_size(engine: Engine) -> int:
    with engine.database.connection() as connection:
        row = connection.execute("select count(*) from shelf").fetchone()
        assert row
        return int(row[0])


def left_over(engine: Engine) -> int:
    with engine.database.connection() as connection:
        row = connection.execute(
            "select (select count(*) from haulage.work) + (select count(*) from haulage.dispatch)"
        ).fetchone()
        assert row
        return int(row[0])


def started(engine: Engine, path: Path) -> UUID:
    answer = engine.start(path)
    assert answer.ok, answer
    assert answer.operation
    return answer.operation


def test_a_small_operation_takes_two_commits_and_ends(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", ["a", "b", "c"]))
    assert engine.worker.run_once() == 1
    state = engine.operation(operation)
    assert (state.status, state.counts) == (Status.COMPLETED, Counts(succeeded=3))
    with engine.database.connection() as connection:
        rows = connection.execute(
            "select count(distinct notification_id >> 20), count(*) from haulage.events"
        ).fetchone()
    assert rows == (2, 7)
    engine.settle()
    assert left_over(engine) == 0


def test_a_large_operation_is_applied_chunk_by_chunk(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", [f"l{n}" for n in range(1050)]))
    engine.settle()
    state = engine.operation(operation)
    assert (state.status, state.counts) == (Status.COMPLETED, Counts(succeeded=1050))
    assert shelf_size(engine) == 1050
    assert left_over(engine) == 0


def test_bad_items_are_rejected_and_their_neighbours_are_not(engine: Engine, tmp_path: Path) -> None:
    labels = [f"l{n}" if n % 50 else "twice" for n in range(500)]
    operation = started(engine, write_labels(tmp_path / "in.csv", labels))
    engine.settle()
    state = engine.operation(operation)
    assert state.status is Status.COMPLETED_WITH_REJECTS
    assert state.counts == Counts(succeeded=491, rejected=9)


def test_a_pause_drains_and_a_resume_goes_on(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", [f"l{n}" for n in range(1000)]))
    for _ in range(3):
        engine.step()
    assert engine.send("pause", PauseOperation(command_id=uuid4(), operation=operation)).status == "pausing"
    engine.settle()
    assert engine.operation(operation).status is Status.PAUSED
    assert 0 < shelf_size(engine) < 1000
    assert engine.send("resume", ResumeOperation(command_id=uuid4(), operation=operation)).ok
    engine.settle()
    assert engine.operation(operation).status is Status.COMPLETED
    assert shelf_size(engine) == 1000


def test_a_cancelled_operation_keeps_what_was_applied(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", [f"l{n}" for n in range(1000)]))
    for _ in range(3):
        engine.step()
    assert engine.send("cancel", CancelOperation(command_id=uuid4(), operation=operation)).ok
    engine.settle()
    assert engine.operation(operation).status is Status.CANCELLED
    assert 0 < shelf_size(engine) < 1000
    assert left_over(engine) == 0


def test_a_rollback_removes_what_was_applied(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", [f"l{n}" for n in range(1000)]))
    for _ in range(3):
        engine.step()
    assert shelf_size(engine) > 0
    assert engine.send("roll-back", RollBackOperation(command_id=uuid4(), operation=operation)).ok
    engine.settle()
    assert engine.operation(operation).status is Status.ROLLED_BACK
    assert shelf_size(engine) == 0
    assert left_over(engine) == 0


def test_a_repeated_command_gets_the_same_answer_and_nothing_twice(engine: Engine, tmp_path: Path) -> None:
    path = write_labels(tmp_path / "in.csv", ["a"])
    first, second = engine.start(path, key="k"), engine.start(path, key="k")
    assert first.ok
    assert second.operation == first.operation
    other = engine.start(write_labels(tmp_path / "other.csv", ["b"]), key="k")
    assert (other.ok, other.code) == (False, "refused")


def test_an_unusable_input_ends_the_operation_with_a_sentence(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, tmp_path / "missing.csv")
    engine.settle()
    assert engine.operation(operation).status is Status.FAILED
    assert left_over(engine) == 0


def test_an_empty_list_of_items_completes_at_once(engine: Engine, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", []))
    engine.settle()
    assert engine.operation(operation).status is Status.COMPLETED


def test_the_claims_of_a_dead_session_are_given_to_another(engine: Engine, database_url: str, tmp_path: Path) -> None:
    operation = started(engine, write_labels(tmp_path / "in.csv", [f"l{n}" for n in range(300)]))
    other = Engine(database_url)
    try:
        with engine.database.connection() as connection:
            assert work.claim(connection, engine.session.id, ["put-labels/1"], 5)
        assert other.worker.run_once() == 0
        assert engine.session._direct
        engine.session._direct.close()  # what the kernel does to a killed process
        other.attendance.run_once()
        other.settle()
        assert other.operation(operation).status is Status.COMPLETED
    finally:
        other.close()
