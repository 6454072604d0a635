"""Tenant, actor and kind are tokens of a bus subject."""

import pytest
from pydantic import TypeAdapter, ValidationError

from haulage.domain.identity import Token, as_token, is_token

GOOD = ["a", "0", "import-users", "acme_1", "x" * 63]
BAD = ["", "-a", "_a", "Acme", "a b", "a.b", "a>b", "a*", "é", "x" * 64, "a\n", " a"]


@pytest.mark.parametrize("text", GOOD)
def test_these_are_tokens(text: str) -> None:
    assert is_token(text)
    assert TypeAdapter(Token).validate_python(text) == text


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_these_are_none_for_us_and_for_pydantic_alike(text: str) -> None:
    assert not is_token(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Token).validate_python(text)


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("DOMAIN\\ada", "domain-ada"),
        ("ada@example.org", "ada-example-org"),
        ("--ada__", "ada"),
        ("x" * 100, "x" * 63),
        ("Ω", "somebody"),
        ("", "somebody"),
    ],
    ids=repr,
)
def test_any_name_can_be_made_to_fit(text: str, token: str) -> None:
    assert as_token(text, default="somebody") == token
    assert is_token(token)
