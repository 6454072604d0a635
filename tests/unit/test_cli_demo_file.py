"""The demo's file: the same for the same seed, believable, and bad exactly where it says so."""

import csv
from pathlib import Path

import pytest

from haulage.infra.cli.demo_file import COLUMNS, write_demo_file

ROLES = {"owner", "admin", "member", "viewer"}


def bad_rows(path: Path) -> list[list[str]]:
    """Rows that an import has to reject, found without any of its code."""
    seen: set[str] = set()
    bad = []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    for row in rows:
        address = row[0].lower()
        fits = len(row) == len(COLUMNS) and "@" in address and row[2] in ROLES and address not in seen
        seen.add(address)
        if not fits:
            bad.append(row)
    return bad


@pytest.mark.parametrize("rows", [1, 4, 5, 7, 30, 999, 20_001])
def test_as_many_rows_are_bad_as_it_says(tmp_path: Path, rows: int) -> None:
    made = write_demo_file(tmp_path / "users.csv", rows, "demo.example")
    assert made.rows == rows
    assert len(bad_rows(made.path)) == made.bad
    assert made.bad > 0 or rows < 5


def test_half_a_percent_is_bad_in_several_ways(tmp_path: Path) -> None:
    made = write_demo_file(tmp_path / "users.csv", 20_000, "demo.example")
    bad = bad_rows(made.path)
    assert made.bad == 100
    assert {len(row) for row in bad} == {3, 6, 7}
    assert any(row[2] == "superuser" for row in bad)
    assert any(row[0] == "" for row in bad)
    assert any(row[0].isupper() for row in bad)


def test_the_seed_and_the_domain_tell_one_file_from_another(tmp_path: Path) -> None:
    def text(name: str, domain: str, seed: int) -> str:
        return write_demo_file(tmp_path / name, 50, domain, seed).path.read_text()

    assert text("a.csv", "demo.example", 1) == text("b.csv", "demo.example", 1)
    assert text("a.csv", "demo.example", 1) != text("c.csv", "demo.example", 2)
    assert text("a.csv", "demo.example", 1) != text("d.csv", "demo-2.example", 1)
