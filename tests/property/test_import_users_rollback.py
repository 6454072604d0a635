"""Whatever the directory, the file and the answer to conflicts: no valid row is lost, and a rollback restores all."""

from collections.abc import Iterator
from typing import Any

import pytest
from directory_imports import Import, directory, execute, people, snapshot, user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulage.infra.postgres.database import Database

# Few of each, so that rows meet: in the file, with the directory, in other cases, with equal and with other values.
EMAILS = st.sampled_from([f"{name}@example.org" for name in ("a", "b", "c", "d", "A", "B", "é", "É")])
OPTIONAL = st.sampled_from([None, "", "x", "y"])
ROWS = st.builds(
    user,
    EMAILS | st.just("no address"),
    st.sampled_from(["N", "M", "a\tb\\N\n"]),
    st.sampled_from(["owner", "member"]),
    external_id=OPTIONAL,
    department=OPTIONAL,
)
FILES = st.lists(st.lists(ROWS, min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        yield db


def made_again(db: Database, present: list[tuple[str, dict[str, Any]]]) -> None:
    """A directory with nobody but those in `present`, each in an organization."""
    for table in ("memberships", "users", "organizations"):
        execute(db, f"delete from directory.{table}")
    for slug in ("acme", "zeta"):
        with directory(db) as participant:
            participant.create_organization(slug, slug)
        Import(db, organization=slug).apply([row for name, row in present if name == slug] or [user("z@example.org")])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    present=st.lists(st.tuples(st.sampled_from(["acme", "zeta"]), ROWS), max_size=6),
    chunks=FILES,
    on_conflict=st.sampled_from(["reject", "skip", "update"]),
    backwards=st.booleans(),
)
def test_an_import_loses_no_valid_row_and_its_rollback_restores_the_directory(
    db: Database,
    present: list[tuple[str, dict[str, Any]]],
    chunks: list[list[dict[str, Any]]],
    on_conflict: str,
    backwards: bool,
) -> None:
    made_again(db, present)
    before, had = snapshot(db), {email.lower() for email in people(db)}
    operation = Import(db, on_conflict)
    firsts = [1 + sum(map(len, chunks[:index])) for index in range(len(chunks))]
    placed = list(zip(firsts, chunks, strict=True))
    for first, rows in reversed(placed) if backwards else placed:
        operation.apply(rows, first)
    rows = [row for chunk in chunks for row in chunk]

    valid = {ordinal for ordinal, row in enumerate(rows, 1) if row["email"] != "no address"}
    offered = {rows[ordinal - 1]["email"].lower() for ordinal in valid}
    succeeded = [rows[n - 1]["email"].lower() for n in sorted(valid) if not operation.codes[n]]
    assert {email.lower() for email in people(db)} == had | offered
    assert len(succeeded) == len(set(succeeded))
    assert offered - had <= set(succeeded)
    assert on_conflict == "update" or not had & set(succeeded)

    assert operation.roll_back() == {}
    assert snapshot(db) == before
    assert operation.roll_back() == {}
    assert snapshot(db) == before
