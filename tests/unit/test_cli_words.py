"""What is typed and what is written: parameters, times, names of operations, numbers, exit codes."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from haulage.domain.status import ENDS, RESTS, Status
from haulage.infra.cli import wording
from haulage.infra.cli.exits import AFTER_STATUS, MEANINGS, Exit, after_error, after_statuses
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.names import bounds
from haulage.infra.cli.parameters import parse_parameters
from haulage.infra.cli.times import parse_time


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("acme", "acme"),
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ('"5"', "5"),
        ("007", "007"),
        ("1e999", "1e999"),
        ("NaN", "NaN"),
        ("", ""),
        ("a=b", "a=b"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_where_it_is_json_and_text_elsewhere(text: str, value: object) -> None:
    assert parse_parameters([f"name={text}"]) == {"name": value}


@pytest.mark.parametrize("given", [["organization"], ["=acme"], ["a=1", "a=2"]])
def test_a_parameter_without_a_name_or_a_value_or_given_twice_is_a_usage_error(given: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_parameters(given)


def test_a_time_is_iso_8601_or_how_long_ago() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert parse_time("2h", now) == now - timedelta(hours=2)
    assert parse_time("3 d", now) == now - timedelta(days=3)
    assert parse_time("2026-11-20T14:00Z") == datetime(2026, 11, 20, 14, tzinfo=UTC)
    assert parse_time("2026-11-20").tzinfo is not None


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "9999999999999d"])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


def test_every_rest_has_an_exit_code_and_only_a_whole_completion_has_zero() -> None:
    assert set(AFTER_STATUS) == RESTS
    assert set(AFTER_STATUS) >= ENDS
    assert [status for status, code in AFTER_STATUS.items() if code == 0] == [Status.COMPLETED]


def test_exit_codes_are_the_documented_ones() -> None:
    assert [code.value for code in Exit] == list(range(10))
    assert set(MEANINGS) == set(Exit)
    assert after_error("not_found") == after_error("refused") == after_error("input") == 7
    assert after_error("not_reachable") == 8
    assert after_error("settings") == 2
    assert after_error("whatever comes later") == 1


def test_several_operations_end_with_the_gravest_code() -> None:
    assert after_statuses([Status.COMPLETED, Status.COMPLETED]) == 0
    assert after_statuses([Status.FAILED, Status.COMPLETED, Status.NEEDS_ATTENTION]) == 9
    assert after_statuses([]) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (7385, "2:03:05"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


def test_the_beginning_of_an_id_is_a_range_of_ids() -> None:
    first, last = bounds("4f2a91")
    assert str(first) == "4f2a9100-0000-0000-0000-000000000000"
    assert str(last) == "4f2a91ff-ffff-ffff-ffff-ffffffffffff"


def test_the_documentation_has_the_same_table_of_exit_codes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()] == [
        line for line in text.splitlines() if re.match(r"\| \d \|", line)
    ]
