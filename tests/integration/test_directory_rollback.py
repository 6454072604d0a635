"""Compensation: exactly what an import did is undone, and nothing that anybody else did since."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from directory_imports import Import, directory, execute, people, snapshot, user

from haulage.domain.directory import user_id
from haulage.infra.postgres.database import Database


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        with directory(db) as participant:
            participant.create_organization("acme", "Acme")
            participant.create_organization("zeta", "Zeta")
        Import(db).apply([user("old@example.org", "Old", "viewer", locale="en"), user("other@example.org")])
        Import(db, organization="zeta").apply([user("zoe@example.org", "Zoe")])
        yield db


def updated(db: Database, email: str = "old@example.org", **changes: Any) -> Import:
    """An import that updated `email` and created `new@example.org`."""
    operation = Import(db, "update")
    operation.apply([user(email, **{"name": "New", "role": "admin"} | changes), user("new@example.org")])
    assert operation.codes == {1: "", 2: ""}
    return operation


# -- exactly -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("on_conflict", ["reject", "skip", "update"])
def test_a_rollback_restores_the_directory_exactly(db: Database, on_conflict: str) -> None:
    before = snapshot(db)
    operation = Import(db, on_conflict)
    operation.apply([user("a@example.org"), user("old@example.org", "New", "owner"), user("A@example.org")])
    operation.apply([user("zoe@example.org", "Zoë", department="Sales"), user("b@example.org"), user("x")], first=4)
    assert snapshot(db) != before
    assert operation.roll_back() == {}
    assert snapshot(db) == before


def test_a_repeat_of_a_rollback_does_nothing_and_finds_no_conflict(db: Database) -> None:
    before = snapshot(db)
    operation = updated(db, locale="de")
    operation.roll_back()
    versions = execute(db, "select id, version from directory.users order by id")
    assert operation.roll_back() == {}
    assert snapshot(db) == before
    assert execute(db, "select id, version from directory.users order by id") == versions


def test_a_rollback_of_one_operation_leaves_what_another_created(db: Database) -> None:
    first, second = Import(db), Import(db)
    first.apply([user("a@example.org")])
    between = snapshot(db)
    second.apply([user("b@example.org")])
    second.roll_back()
    assert snapshot(db) == between


def test_only_the_chunk_is_compensated(db: Database) -> None:
    operation = Import(db)
    operation.apply([user("a@example.org"), user("b@example.org")])
    operation.apply([user("c@example.org"), user("d@example.org")], first=3)
    operation.compensate(1)
    assert people(db).keys() & {"a@example.org", "b@example.org", "c@example.org", "d@example.org"} == {
        "a@example.org",
        "b@example.org",
    }


def test_two_imports_that_updated_the_same_user_are_rolled_back_newest_first(db: Database) -> None:
    before = snapshot(db)
    first = Import(db, "update")
    first.apply([user("old@example.org", "First", "admin")])
    between = snapshot(db)
    second = Import(db, "update")
    second.apply([user("old@example.org", "Second", "owner", department="Sales")])
    assert second.roll_back() == {}
    assert snapshot(db) == between
    assert first.roll_back() == {}
    assert snapshot(db) == before


def test_the_older_of_two_imports_that_updated_the_same_user_is_not_rolled_back_first(db: Database) -> None:
    first, second = Import(db, "update"), Import(db, "update")
    first.apply([user("old@example.org", "First")])
    second.apply([user("old@example.org", "Second")])
    after = snapshot(db)
    assert first.roll_back() == {1: "changed_since"}
    assert snapshot(db) == after


def test_versions_never_come_back(db: Database) -> None:
    [(before,)] = execute(db, "select version from directory.users where email = 'old@example.org'")
    updated(db).roll_back()
    [(after,)] = execute(db, "select version from directory.users where email = 'old@example.org'")
    assert after > before + 1


# -- changed since -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [
        "update directory.users set name = 'Else' where email = 'new@example.org'",
        "update directory.memberships set role = 'owner' from directory.users"
        " where id = user_id and email = 'new@example.org'",
        "insert into directory.memberships select users.id, organizations.id, 'owner'"
        " from directory.users, directory.organizations where email = 'new@example.org' and slug = 'zeta'",
    ],
    ids=["value", "role", "another membership"],
)
def test_a_created_user_that_was_changed_since_is_left_and_told(db: Database, change: str) -> None:
    operation = updated(db)
    execute(db, change)
    after = people(db)["new@example.org"]
    assert operation.roll_back() == {2: "changed_since"}
    assert people(db)["new@example.org"] == after
    assert people(db)["old@example.org"] == ("Old", None, "en", None, "viewer")


@pytest.mark.parametrize(
    "change",
    [
        "update directory.users set name = 'Else' where email = 'old@example.org'",
        "update directory.users set locale = null where email = 'old@example.org'",
        "update directory.memberships set role = 'owner' from directory.users"
        " where id = user_id and email = 'old@example.org'",
        "delete from directory.memberships using directory.users where id = user_id and email = 'old@example.org'",
    ],
    ids=["value", "value taken away", "role", "membership taken away"],
)
def test_an_updated_user_that_was_changed_since_is_left_and_told(db: Database, change: str) -> None:
    operation = updated(db)
    execute(db, change)
    after = people(db)["old@example.org"]
    assert operation.roll_back() == {1: "changed_since"}
    assert people(db)["old@example.org"] == after
    assert "new@example.org" not in people(db)


def test_a_change_of_what_the_import_did_not_touch_is_kept_and_hinders_nothing(db: Database) -> None:
    operation = updated(db, role="viewer")
    execute(db, "update directory.users set email = 'older@example.org' where email = 'old@example.org'")
    execute(db, "update directory.memberships set role = 'owner'")
    assert operation.roll_back() == {2: "changed_since"}
    assert people(db)["older@example.org"] == ("Old", None, "en", None, "owner")


def test_created_users_that_are_gone_already_are_not_missed(db: Database) -> None:
    before = snapshot(db)
    operation = Import(db)
    operation.apply([user("a@example.org"), user("b@example.org")])
    execute(db, "delete from directory.users where email = 'a@example.org'")
    execute(
        db, "delete from directory.memberships using directory.users where id = user_id and email = 'b@example.org'"
    )
    assert operation.roll_back() == {}
    assert snapshot(db) == before


def test_an_updated_user_that_was_deleted_since_is_told(db: Database) -> None:
    operation = updated(db)
    execute(db, "delete from directory.users where email = 'old@example.org'")
    assert operation.roll_back() == {1: "deleted_since"}


def test_somebody_elses_user_with_the_freed_e_mail_is_not_removed(db: Database) -> None:
    first, second = Import(db), Import(db)
    first.apply([user("a@example.org", "First")])
    execute(db, "delete from directory.users where email = 'a@example.org'")
    second.apply([user("a@example.org", "Second")])
    assert first.roll_back() == {}
    assert people(db)["a@example.org"][0] == "Second"


def test_a_rollback_works_after_the_organization_is_gone(db: Database) -> None:
    operation = updated(db)
    execute(
        db,
        "delete from directory.memberships where organization_id in (select id from directory.organizations"
        " where slug = 'acme')",
    )
    execute(db, "delete from directory.organizations where slug = 'acme'")
    assert operation.roll_back() == {1: "changed_since"}
    assert execute(db, "select 1 from directory.users where email = 'new@example.org'") == []


def test_a_user_who_has_become_a_member_elsewhere_is_left_also_when_the_organization_is_gone(db: Database) -> None:
    operation = Import(db)
    operation.apply([user("a@example.org")])
    execute(
        db,
        """
        insert into directory.memberships (user_id, organization_id, role) select users.id, organizations.id, 'owner'
        from directory.users, directory.organizations where email = 'a@example.org' and slug = 'zeta'
        """,
    )
    execute(
        db,
        """
        delete from directory.memberships using directory.organizations
        where organization_id = organizations.id and slug = 'acme'
        """,
    )
    execute(db, "delete from directory.organizations where slug = 'acme'")
    assert operation.roll_back() == {1: "changed_since"}


def test_a_user_of_another_operation_in_the_range_of_ids_is_neither_removed_nor_told(db: Database) -> None:
    operation = Import(db)
    operation.apply([user("a@example.org"), user("x")])
    execute(
        db,
        "insert into directory.users (id, email, name, created_by) values (%s, 'b@example.org', 'B', %s)",
        user_id(operation.operation, 2),
        uuid4(),
    )
    assert operation.roll_back() == {}
    assert "a@example.org" not in people(db)
    assert "b@example.org" in people(db)


def test_a_membership_that_an_update_created_is_removed_again(db: Database) -> None:
    before = snapshot(db)
    operation = updated(db, "zoe@example.org")
    assert people(db)["zoe@example.org"][-1] == "admin"
    assert operation.roll_back() == {}
    assert snapshot(db) == before
