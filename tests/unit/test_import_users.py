"""What `import-users` accepts and rejects, and the ids it gives."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from haulage.domain.directory import OnConflict, ordinal_of, user_id, user_ids
from haulage.domain.items import OutcomeKind
from haulage.domain.manifest import Items
from haulage.domain.user_row import Role, UserRow
from haulage.sagas.catalogue import CATALOGUE
from haulage.sagas.catalogue.import_users import IMPORT_USERS, ImportUsers
from haulage.sagas.definition import Checked

ACTION = IMPORT_USERS.steps[0].action
GOOD = {"email": "ann@example.org", "name": "Ann", "role": "member"}


def check(*contents: Any, first: int = 1, columns: tuple[str, ...] | None = None) -> Checked:
    return ACTION.check(ImportUsers(organization="acme"), Items(first, columns, contents))


def rejected(checked: Checked) -> Sequence[tuple[int, str, str | None]]:
    assert all(outcome.kind is OutcomeKind.REJECTED for outcome in checked.rejected)
    return [(outcome.ordinal, outcome.code, outcome.field) for outcome in checked.rejected]


def code_of(**changes: Any) -> tuple[str, str | None] | None:
    found = rejected(check({**GOOD, **changes}))
    return found[0][1:] if found else None


# -- good rows ---------------------------------------------------------------------------------------------------------
def test_values_are_trimmed_and_the_role_is_read_whatever_its_case() -> None:
    [value] = check({"email": "  Ann@Example.org ", "name": "\tAnn \n", "role": " OWNER "}).values
    assert value == {"email": "Ann@Example.org", "name": "Ann", "role": "owner"}


def test_a_csv_row_is_read_by_the_names_of_its_columns() -> None:
    columns = ("role", "email", "note", "name", "department")
    checked = check(["viewer", "ann@example.org", "a note", "Ann", ""], columns=columns, first=7)
    assert checked.ordinals == range(7, 8)
    assert checked.values == [{"email": "ann@example.org", "name": "Ann", "role": "viewer", "department": ""}]


def test_optional_values_may_be_absent_none_empty_or_a_number() -> None:
    checked = check(GOOD, {**GOOD, "locale": None}, {**GOOD, "department": "  "}, {**GOOD, "external_id": 4711})
    assert not checked.rejected
    assert [value.get("locale") for value in checked.values] == [None] * 4
    assert checked.values[2]["department"] == ""
    assert checked.values[3]["external_id"] == "4711"


@pytest.mark.parametrize(
    "email",
    [
        "a@b.co",
        "first.last+tag@sub.example.co.uk",
        "o'brien@example.org",
        "x_y-z@xn--bcher-kva.example",
        "jörg@bücher.example",
        "用户@例子.公司",
        "a--b@c--d.example",
        "1@2.3",
        f"{'a' * 64}@example.org",
    ],
)
def test_an_address_that_people_have_is_valid(email: str) -> None:
    assert code_of(email=email) is None


@pytest.mark.parametrize(
    "email",
    [
        "ann",
        "ann@",
        "@example.org",
        "ann@example",
        "ann@@example.org",
        "ann smith@example.org",
        "ann@exam ple.org",
        "ann@example..org",
        "ann@.example.org",
        "ann@example.org.",
        ".ann@example.org",
        "ann.@example.org",
        "an..n@example.org",
        "ann@-example.org",
        "ann@example-.org",
        "ann,bob@example.org",
        "ann@example.org,bob@example.org",
        "Ann <ann@example.org>",
        "an\u200bn@example.org",
        "an\u00a0n@example.org",
        "ann\n@example.org",
        "ann\x00@example.org",
        "ann\\@example.org",
        '"ann"@example.org',
        "ann@[127.0.0.1]",
        "mailto:ann@example.org",
    ],
)
def test_an_address_with_a_typing_error_is_invalid(email: str) -> None:
    assert code_of(email=email) == ("email_invalid", "email")


# -- bad rows ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"email": ""}, "email_missing", "email"),
        ({"email": " \t"}, "email_missing", "email"),
        ({"email": None}, "email_missing", "email"),
        ({"email": 5}, "value_not_text", "email"),
        ({"email": "\ud800@example.org"}, "value_not_text", "email"),
        ({"email": f"{'a' * 243}@example.org"}, "value_too_long", "email"),
        ({"name": " "}, "name_missing", "name"),
        ({"name": None}, "name_missing", "name"),
        ({"name": ["Ann"]}, "value_not_text", "name"),
        ({"name": "x" * 201}, "value_too_long", "name"),
        ({"name": "An\0n"}, "nul_character", "name"),
        ({"role": ""}, "role_missing", "role"),
        ({"role": None}, "role_missing", "role"),
        ({"role": "boss"}, "role_unknown", "role"),
        ({"role": "ownerx"}, "role_unknown", "role"),
        ({"role": "owner\0"}, "role_unknown", "role"),
        ({"role": True}, "value_not_text", "role"),
        ({"external_id": "x" * 201}, "value_too_long", "external_id"),
        ({"external_id": "a\0"}, "nul_character", "external_id"),
        ({"external_id": True}, "value_not_text", "external_id"),
        ({"external_id": {"a": 1}}, "value_not_text", "external_id"),
        ({"locale": "x!"}, "locale_invalid", "locale"),
        ({"locale": "en--GB"}, "locale_invalid", "locale"),
        ({"locale": "en" + "-abcdefg" * 5}, "value_too_long", "locale"),
        ({"department": "x" * 201}, "value_too_long", "department"),
        ({"department": "a\0b"}, "nul_character", "department"),
        ({"department": 1}, "value_not_text", "department"),
    ],
)
def test_a_bad_value_is_rejected_with_its_code_and_field(changes: dict[str, Any], code: str, field: str) -> None:
    assert code_of(**changes) == (code, field)


@pytest.mark.parametrize("field", ["email", "name", "role"])
def test_a_required_value_that_is_absent_is_missing(field: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != field}
    assert rejected(check(row)) == [(1, f"{field}_missing", field)]


def test_of_several_errors_in_a_row_the_first_column_is_told() -> None:
    assert rejected(check({"email": "x", "name": "", "role": "boss"})) == [(1, "email_invalid", "email")]


def test_good_rows_are_kept_beside_bad_ones_whatever_their_order() -> None:
    columns = ("email", "name", "role")
    contents = [
        ["a@example.org", "A", "owner"],
        ["b@example.org", "", "owner"],
        ["c@example.org", "C"],
        "not_utf8\nraw",
        None,
        ["d@example.org", "D", "viewer"],
    ]
    checked = check(*contents, columns=columns, first=11)
    assert list(checked.ordinals) == [11, 16]
    assert [value["email"] for value in checked.values] == ["a@example.org", "d@example.org"]
    assert {(o.ordinal, o.kind, o.code) for o in checked.rejected} == {
        (12, OutcomeKind.REJECTED, "name_missing"),
        (13, OutcomeKind.REJECTED, "ragged_row"),
        (14, OutcomeKind.REJECTED, "not_utf8"),
        (15, OutcomeKind.SKIPPED, "erased"),
    }


def test_a_chunk_without_a_good_row_has_no_values() -> None:
    checked = check({}, "not_json\n{")
    assert (list(checked.ordinals), list(checked.values)) == ([], [])
    assert len(checked.rejected) == 2


# -- ids ---------------------------------------------------------------------------------------------------------------
def test_an_id_is_a_uuid_of_version_8_that_tells_its_ordinal() -> None:
    operation = UUID("0192f3a4-5b6c-7def-8123-456789abcdef")
    made = user_id(operation, 4711)
    # Written down once: these ids are in directories.
    assert made == UUID("0192f3a4-5b6c-8ba7-b653-6f0000001267")
    assert (made.version, ordinal_of(made)) == (8, 4711)
    assert made.variant == operation.variant
    assert made.hex.startswith(user_ids(operation))


def test_ids_ascend_with_the_ordinal_and_from_an_earlier_operation_to_a_later_one() -> None:
    earlier, later = UUID("0192f3a4-5b6c-7fff-bfff-ffffffffffff"), UUID("0192f3a4-5b6d-7000-8000-000000000000")
    ids = [user_id(operation, ordinal) for operation in (earlier, later) for ordinal in (1, 255, 256, 2**40 - 1)]
    assert ids == sorted(ids)


def test_operations_that_begin_alike_have_different_ids() -> None:
    first = uuid4()
    assert user_ids(first) != user_ids(UUID(int=first.int ^ 1))


@pytest.mark.parametrize("ordinal", [-1, 2**40])
def test_an_ordinal_that_does_not_fit_into_an_id_is_an_error(ordinal: int) -> None:
    with pytest.raises(ValueError, match="40 bits"):
        user_id(uuid4(), ordinal)


# -- parameters and the definition -------------------------------------------------------------------------------------
def test_conflicts_are_rejected_unless_asked_otherwise() -> None:
    assert ImportUsers(organization="acme").on_conflict is OnConflict.REJECT
    assert ImportUsers.model_validate({"organization": "a", "on_conflict": "skip"}).on_conflict is OnConflict.SKIP


@pytest.mark.parametrize(
    "parameters",
    [{}, {"organization": "Not A Slug"}, {"organization": "a", "on_conflict": "x"}, {"organization": "a", "x": 1}],
)
def test_parameters_of_the_wrong_shape_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImportUsers.model_validate(parameters)


def test_every_code_has_a_sentence_that_says_what_to_do() -> None:
    ways = [check({**GOOD, name: value}) for name in GOOD for value in (None, "", 1, "x" * 300, "a\0@b!")]
    codes = {code for checked in ways for _, code, _ in rejected(checked)}
    assert len(codes) > 5
    assert codes <= IMPORT_USERS.messages.keys()
    assert all(len(message) > 20 for message in IMPORT_USERS.messages.values())


def test_the_catalogue_has_the_definition() -> None:
    assert IMPORT_USERS in CATALOGUE
    assert (IMPORT_USERS.kind, IMPORT_USERS.version, IMPORT_USERS.columns) == (
        "import-users",
        1,
        ("email", "name", "role"),
    )


def test_the_operations_page_tells_every_parameter_column_and_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations" / "import-users.md").read_text()
    told = set(re.findall(r"`([a-z_]+)`", page))
    assert told >= {*IMPORT_USERS.messages, *ImportUsers.model_fields, *UserRow.__annotations__, *Role, *OnConflict}
