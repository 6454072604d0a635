"""Adding users the careful way: what is free is added, the rest is told, never at the cost of a neighbour."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from directory_imports import Import, directory, execute, people, snapshot, user

from haulage.domain.directory import NewUsers, OnConflict
from haulage.domain.items import OutcomeKind
from haulage.infra.postgres.database import Database


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        with directory(db) as participant:
            participant.create_organization("acme", "Acme")
            participant.create_organization("zeta", "Zeta")
        yield db


@pytest.fixture
def ann(db: Database) -> None:
    """A user that an earlier operation imported."""
    Import(db).apply([user("ann@example.org", "Ann", "viewer", external_id="7", locale="en")])


# -- reject ------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("ann")
def test_of_a_chunk_with_conflicts_the_others_are_added(db: Database) -> None:
    operation = Import(db)
    applied = operation.apply(
        [user("a@example.org"), user("ANN@example.org"), user("b@example.org"), user("B@example.org")]
    )
    assert operation.codes == {1: "", 2: "email_in_directory", 3: "", 4: "email_in_file"}
    assert {(o.kind, o.field) for o in applied.exceptions} == {(OutcomeKind.REJECTED, "email")}
    assert people(db).keys() == {"ann@example.org", "a@example.org", "b@example.org"}
    assert people(db)["a@example.org"] == ("Ann", None, None, None, "member")


def test_of_equal_e_mails_in_a_chunk_the_first_wins(db: Database) -> None:
    operation = Import(db)
    operation.apply([user("A@example.org", "First"), user("a@example.org", "Second"), user("a@EXAMPLE.org", "Third")])
    assert operation.codes == {1: "", 2: "email_in_file", 3: "email_in_file"}
    assert people(db)["A@example.org"][0] == "First"


def test_an_e_mail_that_another_chunk_of_the_operation_has_added_is_a_double_in_the_file(db: Database) -> None:
    operation = Import(db)
    operation.apply([user("ann@example.org")], first=2001)
    operation.apply([user("bob@example.org"), user("ann@example.org")], first=1)
    assert operation.codes == {1: "", 2: "email_in_file", 2001: ""}


def test_a_clean_chunk_is_added_carefully_just_the_same(db: Database) -> None:
    fast, careful = Import(db), Import(db)
    fast.apply([user("a@example.org", department="Sales")], careful=False)
    applied = careful.apply([user("b@example.org", department="Sales")], careful=True)
    assert (list(applied.exceptions), list(applied.undo)) == ([], [])
    found = people(db)
    assert found["a@example.org"] == found["b@example.org"]


# -- skip --------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("ann")
def test_skipping_leaves_the_user_wholly_as_it_is(db: Database) -> None:
    before = snapshot(db)
    operation = Import(db, "skip", "zeta")
    applied = operation.apply([user("ann@example.org", "Another", "owner")])
    assert [(o.kind, o.code) for o in applied.exceptions] == [(OutcomeKind.SKIPPED, "exists")]
    assert snapshot(db) == before


def test_skipping_also_skips_doubles_in_the_file(db: Database) -> None:
    operation = Import(db, "skip")
    applied = operation.apply([user("a@example.org"), user("a@example.org")])
    assert [(o.ordinal, o.kind, o.code) for o in applied.exceptions] == [(2, OutcomeKind.SKIPPED, "email_in_file")]


# -- update ------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("ann")
def test_updating_changes_what_is_given_and_leaves_the_rest(db: Database) -> None:
    operation = Import(db, "update")
    applied = operation.apply(
        [user("ANN@example.org", "Anna", "admin", locale="de", department="Sales", external_id="")]
    )
    assert operation.codes == {1: ""}
    assert len(applied.undo) == 1
    assert people(db) == {"ann@example.org": ("Anna", "7", "de", "Sales", "admin")}
    assert execute(db, "select version, changed_by from directory.users") == [(2, operation.operation)]


@pytest.mark.usefixtures("ann")
def test_updating_makes_a_user_of_another_organization_a_member(db: Database) -> None:
    operation = Import(db, "update", "zeta")
    operation.apply([user("ann@example.org", "Ann", "owner")])
    assert operation.codes == {1: ""}
    assert execute(db, "select role from directory.memberships order by role") == [("owner",), ("viewer",)]


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    "change",
    [{"name": "Anna"}, {"role": "owner"}, {"external_id": "8"}, {"locale": "de"}, {"department": "Sales"}],
)
def test_each_value_alone_is_a_change(db: Database, change: dict[str, Any]) -> None:
    operation = Import(db, "update")
    operation.apply([user("ann@example.org", **{"name": "Ann", "role": "viewer"} | change)])
    assert operation.codes == {1: ""}
    expected = {"name": "Ann", "external_id": "7", "locale": "en", "department": None, "role": "viewer"} | change
    assert people(db)["ann@example.org"] == tuple(expected.values())


@pytest.mark.usefixtures("ann")
def test_an_update_that_changes_nothing_is_skipped_and_leaves_no_trace(db: Database) -> None:
    before = [snapshot(db), execute(db, "select version from directory.users")]
    operation = Import(db, "update")
    applied = operation.apply([user("ann@example.org", "Ann", "viewer", external_id="7")])
    assert [(o.kind, o.code) for o in applied.exceptions] == [(OutcomeKind.SKIPPED, "unchanged")]
    assert (list(applied.undo), before) == ([], [snapshot(db), execute(db, "select version from directory.users")])


@pytest.mark.usefixtures("ann")
def test_a_user_is_updated_once_in_an_operation(db: Database) -> None:
    operation = Import(db, "update")
    operation.apply([user("ann@example.org", "First"), user("ann@example.org", "Second")], first=11)
    operation.apply([user("ann@example.org", "Third")], first=21)
    assert operation.codes == {11: "", 12: "email_in_file", 21: "email_in_file"}
    assert people(db)["ann@example.org"][0] == "First"


def test_a_user_that_the_operation_itself_created_is_not_updated(db: Database) -> None:
    operation = Import(db, "update")
    operation.apply([user("a@example.org", "First"), user("a@example.org", "Second")])
    assert operation.codes == {1: "", 2: "email_in_file"}
    assert people(db)["a@example.org"][0] == "First"


def test_adding_updating_and_doubles_in_one_chunk_each_have_their_outcome(db: Database) -> None:
    Import(db).apply([user(f"old{n}@example.org", "Old") for n in range(50)])
    rows = [user(f"{'old' if n % 3 else 'new'}{n % 50}@example.org", "New", "admin") for n in range(100)]
    operation = Import(db, "update")
    applied = operation.apply(rows)
    seen: set[str] = set()
    expected = {}
    for ordinal, row in enumerate(rows, 1):
        expected[ordinal] = "email_in_file" if row["email"] in seen else ""
        seen.add(row["email"])
    assert operation.codes == expected
    assert len(applied.undo) == sum(not code and rows[n - 1]["email"].startswith("old") for n, code in expected.items())
    assert {values[0] for email, values in people(db).items() if email in seen} == {"New"}


# -- what sets can't attribute -----------------------------------------------------------------------------------------
def test_an_item_that_a_constraint_of_the_installation_refuses_never_costs_its_neighbours(
    db: Database, admin_url: str
) -> None:
    with psycopg.connect(admin_url) as admin:
        admin.execute("alter table directory.users add check (department <> 'Secret')")
        admin.execute("create unique index on directory.users (external_id)")
    rows = [user(f"u{n}@example.org", external_id=str(n)) for n in range(1, 41)]
    rows[4]["department"] = "Secret"
    rows[16]["external_id"] = "3"
    rows[39]["email"] = "U1@example.org"
    operation = Import(db)
    operation.apply(rows)
    bad = {5: "refused_by_directory", 17: "refused_by_directory", 40: "email_in_file"}
    assert operation.codes == {n: bad.get(n, "") for n in range(1, 41)}
    assert people(db).keys() == {f"u{n}@example.org" for n in range(1, 41) if n not in bad}


def test_an_item_that_a_trigger_of_the_installation_refuses_never_costs_its_neighbours(
    db: Database, admin_url: str
) -> None:
    with psycopg.connect(admin_url) as admin:
        admin.execute(
            """
            create function no_bots() returns trigger language plpgsql as
            $$ begin if new.name = 'Bot' then raise 'no bots'; end if; return new; end $$;
            create trigger no_bots before insert or update on directory.users
                for each row execute function no_bots();
            """
        )
    Import(db).apply([user("old@example.org")])
    operation = Import(db, "update")
    operation.apply([user("a@example.org"), user("b@example.org", "Bot"), user("old@example.org", "Bot")])
    assert operation.codes == {1: "", 2: "refused_by_directory", 3: "refused_by_directory"}
    assert people(db).keys() == {"old@example.org", "a@example.org"}


# -- cost --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("on_conflict", ["reject", "skip", "update"])
def test_the_number_of_statements_does_not_depend_on_the_number_of_items(
    db: Database, monkeypatch: pytest.MonkeyPatch, on_conflict: str
) -> None:
    sent: list[str] = []
    ours = threading.get_ident()
    execute_generator = psycopg.Cursor._execute_gen

    def counted(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
        # The pool's threads prepare sessions beside us.
        if threading.get_ident() == ours:
            sent.append(str(query))
        return execute_generator(cursor, query, *args, **options)

    def statements(items: int) -> int:
        Import(db).apply([user(f"{on_conflict}{items}-{n}@example.org") for n in range(items)])
        rows = [user(f"{on_conflict}{items}-{n // 2}@example.org", "New") for n in range(2 * items)]
        operation = Import(db, on_conflict)
        with monkeypatch.context() as patched:
            patched.setattr(psycopg.Cursor, "_execute_gen", counted)
            sent.clear()
            operation.apply(rows, careful=True)
            operation.roll_back()
        return len(sent)

    assert 5 < statements(3) == statements(300)


def test_two_chunks_may_be_merged_in_one_transaction(db: Database) -> None:
    operation = Import(db).operation
    with directory(db) as participant:
        for ordinal in (1, 2):
            new = NewUsers(operation, "acme", [ordinal], [{"email": "a@example.org", "name": "A", "role": "owner"}])
            merged = participant.merge_users(new, OnConflict.REJECT)
    assert [(o.ordinal, o.code) for o in merged.exceptions] == [(2, "email_in_file")]
