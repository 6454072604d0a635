"""Organizations of the reference directory, and adding users the fast way."""

import traceback
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from directory_imports import ACTION, Import, directory, execute, people, snapshot, user

from haulage.domain.directory import DirectorySize, NewUsers, user_id
from haulage.domain.errors import NotFoundError, ParticipantRefusedError, RefusedError
from haulage.infra.postgres.database import Database
from haulage.sagas.catalogue.import_users import ImportUsers


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url) as db:
        with directory(db) as participant:
            participant.create_organization("acme", "Acme")
        yield db


# -- organizations -----------------------------------------------------------------------------------------------------
def test_a_created_organization_is_found_and_listed(db: Database) -> None:
    with directory(db) as participant:
        made = participant.create_organization("zeta", " Zeta Ltd ")
    with directory(db) as participant:
        assert participant.organization("zeta") == made
        assert [o.slug for o in participant.organizations()] == ["acme", "zeta"]
    assert made.name == "Zeta Ltd"


def test_a_slug_is_given_once(db: Database) -> None:
    with directory(db) as participant, pytest.raises(RefusedError, match="already"):
        participant.create_organization("acme", "Another")


@pytest.mark.parametrize(
    ("slug", "name"), [("", "x"), ("A", "x"), ("-a", "x"), ("a" * 64, "x"), ("a", " "), ("a", "\0")]
)
def test_an_unusable_slug_or_name_is_refused(db: Database, slug: str, name: str) -> None:
    with directory(db) as participant, pytest.raises(RefusedError):
        participant.create_organization(slug, name)


def test_an_unknown_organization_is_refused_before_anything_starts_and_the_error_tells_how_to_create_it(
    db: Database,
) -> None:
    with directory(db) as participant:
        ACTION.verify(participant, ImportUsers(organization="acme"))
        with pytest.raises(NotFoundError, match="haulage directory organization create nowhere"):
            ACTION.verify(participant, ImportUsers(organization="nowhere"))


@pytest.mark.parametrize("careful", [False, True])
def test_an_organization_that_is_gone_stops_the_import(db: Database, careful: bool) -> None:
    execute(db, "delete from directory.organizations")
    with pytest.raises(NotFoundError):
        Import(db).apply([user("ann@example.org")], careful=careful)


@pytest.mark.parametrize("careful", [False, True])
def test_an_organization_can_not_be_deleted_while_a_chunk_is_added(db: Database, careful: bool) -> None:
    new = NewUsers(uuid4(), "acme", [1], [{"email": "ann@example.org", "name": "Ann", "role": "owner"}])
    with directory(db) as participant:
        if careful:
            participant.merge_users(new, ImportUsers(organization="acme").on_conflict)
        else:
            participant.add_users(new)
        with db.connect() as other:
            other.execute("set lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("delete from directory.organizations")


def test_members_are_counted_by_organization(db: Database) -> None:
    with directory(db) as participant:
        zeta = participant.create_organization("zeta", "Zeta")
        acme = participant.organization("acme")
    Import(db).apply([user("a@example.org"), user("b@example.org")])
    Import(db, organization="zeta").apply([user("c@example.org")])
    with directory(db) as participant:
        assert participant.member_counts() == {acme.id: 2, zeta.id: 1}
        assert participant.size() == DirectorySize(organizations=2, users=3, memberships=3)


# -- the fast way ------------------------------------------------------------------------------------------------------
def test_a_chunk_adds_users_with_their_memberships(db: Database) -> None:
    operation = Import(db)
    applied = operation.apply(
        [
            user("ann@example.org", "Ann", "owner", external_id="7", locale="en-GB", department="Sales"),
            user("bob@example.org", "Bob"),
        ],
        first=101,
        careful=False,
    )
    assert (applied.exceptions, applied.undo) == ((), ())
    assert people(db) == {
        "ann@example.org": ("Ann", "7", "en-GB", "Sales", "owner"),
        "bob@example.org": ("Bob", None, None, None, "member"),
    }
    rows = execute(db, "select id, created_by, changed_by, version from directory.users order by id")
    assert rows == [(user_id(operation.operation, n), operation.operation, None, 1) for n in (101, 102)]


@pytest.mark.parametrize("careful", [False, True])
def test_a_chunk_whose_items_are_all_rejected_does_nothing(db: Database, careful: bool) -> None:
    before = snapshot(db)
    Import(db).apply([user("no address")], careful=careful)
    assert snapshot(db) == before


@pytest.mark.parametrize("email", ["ann@example.org", "ANN@Example.ORG"])
def test_an_e_mail_that_is_taken_whatever_its_case_makes_the_directory_refuse_the_chunk(
    db: Database, email: str
) -> None:
    Import(db).apply([user("ann@example.org")])
    before, rows = snapshot(db), [user("bob@example.org"), user(email)]
    with pytest.raises(ParticipantRefusedError) as refused:
        Import(db).apply(rows, careful=False)
    told = "".join(traceback.format_exception(refused.value))
    assert "1 to 2" in told
    assert "example.org" not in told.lower()
    assert snapshot(db) == before


def test_an_e_mail_twice_in_a_chunk_makes_the_directory_refuse_it(db: Database) -> None:
    with pytest.raises(ParticipantRefusedError):
        Import(db).apply([user("jörg@example.org"), user("JÖRG@example.org")], careful=False)


@pytest.mark.parametrize("careful", [False, True])
def test_a_chunk_applied_twice_is_an_error_and_no_item_is_blamed(db: Database, careful: bool) -> None:
    operation = Import(db)
    operation.apply([user("ann@example.org")])
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        operation.apply([user("bob@example.org")], careful=careful)
    assert error.value.diag.constraint_name == "users_pkey"


def test_the_same_email_in_another_organization_is_the_same_user(db: Database) -> None:
    with directory(db) as participant:
        participant.create_organization("zeta", "Zeta")
    Import(db).apply([user("ann@example.org")])
    second = Import(db, organization="zeta")
    second.apply([user("ann@example.org")])
    assert second.codes == {1: "email_in_directory"}


# -- versions ----------------------------------------------------------------------------------------------------------
def test_whoever_changes_a_row_counts_its_version_up(db: Database) -> None:
    Import(db).apply([user("ann@example.org"), user("bob@example.org")])
    execute(db, "update directory.users set name = 'Anna', version = 1 where email = 'ann@example.org'")
    execute(db, "update directory.memberships set role = 'admin'")
    assert execute(db, "select version from directory.users order by email") == [(2,), (1,)]
    assert execute(db, "select version from directory.memberships") == [(2,), (2,)]
