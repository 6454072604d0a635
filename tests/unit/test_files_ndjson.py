"""NDJSON files as people send them: every object is an item, every other line is a faulty item, alone."""

from pathlib import Path

import orjson
import pytest
from files_reading import codes, read

GOOD = {"email": "a@x.de", "name": "Ann"}
LINE = b'{"email": "a@x.de", "name": "Ann"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.ndjson"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("piece_bytes", [8, 1 << 18])
def test_objects_are_items_as_they_are(path: Path, encoding: str, piece_bytes: int) -> None:
    objects = [{"email": f"é{i}@x.de", "deep": {"list": [1, None, True, "😀"]}, "n": i} for i in range(100)]
    text = "".join(orjson.dumps(item).decode() + "\n" for item in objects)
    assert read(path, text.encode(encoding), piece_bytes=piece_bytes) == objects


def test_the_space_around_objects_and_blank_lines_do_not_matter(path: Path) -> None:
    assert read(path, b'\n  {"a": 1}\t\r\n\r\n   \n{"a":\r2}\r\n{"a": 3}') == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"not json", "not_json"),
        (b'{"email": "a@x.de"', "not_json"),
        (b'{"email": "a@x.de"}}', "not_json"),
        (b'{"a": 1},{"b": 2}', "not_json"),
        (b'{"a": 1} {"b": 2}', "not_json"),
        (b'{"a": [{}', "not_json"),
        (b'{}]},{"b": 1}', "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b'{"a": "tab\t"}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"5", "not_an_object"),
        (b'{"a": "\0"}', "nul_byte"),
        (b'{"a": "\\u0000"}', "nul_byte"),
        (b'{"a": [{"b\\u0000": 1}]}', "nul_byte"),
        (b'{"a": "Andr\xe9"}', "not_utf8"),
        (b'{"a": "' + b"x" * 200_000 + b'"}', "row_too_long"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
        (b'{"a": ' + b"[" * 1020 + b"]" * 1020 + b"}", "too_deep"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1 << 12, 1 << 18])
def test_a_bad_line_is_one_faulty_item_and_its_neighbours_are_unharmed(
    path: Path, bad: bytes, code: str, piece_bytes: int
) -> None:
    found = read(path, LINE * 300 + bad + b"\n" + LINE * 300, piece_bytes=piece_bytes)
    assert codes(found) == ["ok"] * 300 + [code] + ["ok"] * 300
    assert found[:300] == found[301:] == [GOOD] * 300


@pytest.mark.parametrize(
    "good",
    [
        b'{"a": "\\\\u0000"}',
        b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"a": [' + b"[]," * 500 + b"[]]}",
        b'{"a": 1, "a": 2}',
        b'{"": ""}',
        b"{}",
    ],
)
def test_what_looks_bad_but_is_not_is_an_item(path: Path, good: bytes) -> None:
    assert read(path, LINE + good + b"\n" + LINE) == [GOOD, orjson.loads(good), GOOD]


def test_a_bad_line_at_the_end_is_one_faulty_item(path: Path) -> None:
    assert codes(read(path, LINE + b'{"email": ')) == ["ok", "not_json"]
    assert codes(read(path, LINE + b"x" * 200_000)) == ["ok", "row_too_long"]


def test_the_raw_text_of_a_bad_line_is_kept(path: Path) -> None:
    assert read(path, LINE + b"  Andr\xe9 \r\n")[1] == "not_utf8\nAndr\\xe9"


def test_megabytes_of_blank_lines_are_not_the_end(path: Path) -> None:
    assert read(path, LINE + b"\n" * 3_000_000 + LINE) == [GOOD, GOOD]
