"""The rejects file: the original rows with the reason, harmless in a spreadsheet, and fit to be resubmitted."""

import csv
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from files_reading import contents_of

from haulage.domain.errors import HaulageError
from haulage.infra.files.rejects import Reject, escape, our_names, unescape, write_rejects
from haulage.infra.files.source import open_source

COLUMNS = ["Email", "name"]
SAID = "the email address is not valid"


def reject(row: int, content: object, code: str = "invalid", field: str | None = "email") -> Reject:
    return Reject(row, code, field, SAID, content)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# -- CSV ---------------------------------------------------------------------------------------------------------------
def test_a_csv_has_the_reason_and_then_the_original_columns(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    rejects = [
        reject(2, ["é", 'say "hi",\r\nthen'], field=None),
        reject(5, ["a"], "ragged_row"),
        reject(6, ["a", "b", "c"]),
    ]
    assert write_rejects(path, rejects, file_format="csv", columns=COLUMNS) == 3
    assert read_csv(path) == [
        ["row", "code", "field", "message", "Email", "name"],
        ["2", "invalid", "", SAID, "é", 'say "hi",\r\nthen'],
        ["5", "ragged_row", "email", SAID, "a"],
        ["6", "invalid", "email", SAID, "a", "b", "c"],
    ]


def test_what_could_not_be_parsed_is_given_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    write_rejects(path, [reject(2, 'unclosed_quote\na,"b')], file_format="csv", columns=COLUMNS)
    assert read_csv(path)[1][4:] == ['a,"b']


def test_objects_are_one_column_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    write_rejects(path, [reject(2, {"email": "x", "tags": [1]})], file_format="csv", columns=None)
    assert read_csv(path)[0][4:] == ["item"]
    assert orjson.loads(read_csv(path)[1][4]) == {"email": "x", "tags": [1]}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_like_a_formula(tmp_path: Path, start: str) -> None:
    path, dangerous = tmp_path / "rejects.csv", start + "cmd|' /C calc'!A0"
    write_rejects(path, [reject(2, [dangerous, dangerous])], file_format="csv", columns=[dangerous, "name"])
    assert read_csv(path)[0][4] == "'" + dangerous
    assert read_csv(path)[1][4:] == ["'" + dangerous] * 2


@pytest.mark.parametrize(
    "cell", ["", "a", "'", "''", "'a", "=1", "'=1", "''=1", "-", "+49 170", "@me", "\tx", "a=1", "'\r"]
)
def test_escaping_a_cell_can_be_taken_back(cell: str) -> None:
    assert unescape(escape(cell)) == cell


# -- NDJSON ------------------------------------------------------------------------------------------------------------
def test_ndjson_has_the_reason_and_then_the_original_fields(tmp_path: Path) -> None:
    path = tmp_path / "rejects.ndjson"
    rejects = [
        reject(1, {"email": "x", "tags": [1]}),
        reject(2, ["a", "b"]),
        reject(3, ["a"]),
        reject(4, "not_json\n{"),
    ]
    assert write_rejects(path, rejects, file_format="ndjson", columns=COLUMNS) == 4
    ours = {"code": "invalid", "field": "email", "message": SAID}
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == [
        {"row": 1, **ours, "email": "x", "tags": [1]},
        {"row": 2, **ours, "Email": "a", "name": "b"},
        {"row": 3, **ours, "raw": ["a"]},
        {"row": 4, **ours, "raw": "{"},
    ]


# -- back again --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "columns", [["email", "name"], ["code", "reject_code"], ["Row", "message"], ["email", "field"]]
)
def test_a_csv_of_rejects_can_be_resubmitted_as_it_is(tmp_path: Path, columns: list[str]) -> None:
    path, rows = tmp_path / "rejects.csv", [["=1", "-2"], ["'=1", "''@"], ["a\nb", ""], ["'", "x"]]
    write_rejects(path, [reject(i, row) for i, row in enumerate(rows)], file_format="csv", columns=columns)
    with open_source(path, required=[columns[0]]) as source:
        assert source.facts.columns == tuple(column.lower() for column in columns)
        assert contents_of(source) == rows


@pytest.mark.parametrize(
    "item",
    [{"email": "=1"}, {"code": 1, "a": 2}, {"row": 1, "code": 2, "reject_code": 3, "field": 4, "message": 5}, {}],
)
def test_an_ndjson_of_rejects_can_be_resubmitted_as_it_is(tmp_path: Path, item: dict[str, object]) -> None:
    path = tmp_path / "rejects.ndjson"
    write_rejects(path, [reject(1, item), reject(2, item)], file_format="ndjson", columns=None)
    with open_source(path) as source:
        assert contents_of(source) == [item, item]


def test_a_file_of_which_our_columns_are_the_columns_is_no_rejects_file(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("row,code,field,message\n1,2,3,'=4\n")
    for required in (["code"], []):
        with open_source(path, required=required) as source:
            assert contents_of(source) == [["1", "2", "3", "'=4"]]


def test_our_names_give_way_to_original_columns() -> None:
    assert our_names(["email"]) == ["row", "code", "field", "message"]
    assert our_names([" Code ", "reject_code"]) == ["row", "reject_reject_code", "field", "message"]


# -- writing it --------------------------------------------------------------------------------------------------------
def test_the_file_is_the_owners_only_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text("older")
    path.chmod(0o666)
    write_rejects(path, [], file_format="csv", columns=COLUMNS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_csv(path) == [["row", "code", "field", "message", "Email", "name"]]
    assert os.listdir(tmp_path) == ["rejects.csv"]


def test_nothing_is_left_behind_where_the_rejects_break_off(tmp_path: Path) -> None:
    def breaking_off() -> Iterator[Reject]:
        yield reject(1, ["a", "b"])
        raise ZeroDivisionError

    path = tmp_path / "rejects.csv"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError):
        write_rejects(path, breaking_off(), file_format="csv", columns=COLUMNS)
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["rejects.csv"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no/folder/rejects.csv", "is no directory"),
        ("file/rejects.csv", "is no directory"),
        (".", "is no regular file"),
        ("/dev/null", "is no regular file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_place_that_can_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(HaulageError, match=says):
        write_rejects(Path(path), [], file_format="csv", columns=COLUMNS)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence_and_leaves_nothing_behind(tmp_path: Path, code: int) -> None:
    def filling_the_disk() -> Iterator[Reject]:
        yield reject(1, ["a", "b"])
        raise OSError(code, os.strerror(code))

    with pytest.raises(HaulageError, match=r"the disk of .* is full: the rejects were not written; make space"):
        write_rejects(tmp_path / "rejects.csv", filling_the_disk(), file_format="csv", columns=COLUMNS)
    assert os.listdir(tmp_path) == []


TOO_LARGE = """
import resource, sys
from pathlib import Path
from haulage.domain.errors import HaulageError
from haulage.infra.files.rejects import Reject, write_rejects
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rejects = (Reject(i, "invalid", None, "x", ["y" * 100]) for i in range(10_000))
try:
    write_rejects(Path(sys.argv[1]), rejects, file_format="csv", columns=["a"])
except HaulageError as error:
    print(error)
"""


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOO_LARGE, str(tmp_path / "rejects.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the rejects could not be written" in done.stdout
    assert "File too large" in done.stdout
    assert os.listdir(tmp_path) == []
