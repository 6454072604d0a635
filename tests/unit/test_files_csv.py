"""CSV files as people send them: every good row is an item, every bad one is a faulty item, alone."""

from pathlib import Path

import pytest
from files_reading import codes, contents_of, read

from haulage.infra.files.source import open_source

GOOD = ["a@x.de", "Ann", "member"]
LINE = b"a@x.de,Ann,member\n"
HEADER = b"email,name,role\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


# -- what is good ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("piece_bytes", [4, 64, 1 << 18])
def test_every_encoding_with_a_mark_is_read(path: Path, encoding: str, piece_bytes: int) -> None:
    text = "email,name,role\né@x.de,Łukasz 😀,ü\n" * 1 + "b@x.de,Bob,member\n" * 9
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    found = read(path, (mark + text).encode(encoding), piece_bytes=piece_bytes)
    assert found == [["é@x.de", "Łukasz 😀", "ü"], *[["b@x.de", "Bob", "member"]] * 9]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_in_any_way_and_the_last_one_in_none(path: Path, end: str, last: bool) -> None:
    text = end.join(["email,name,role", "1,2,3", "4,5,6"]) + (end if last else "")
    assert read(path, text) == [["1", "2", "3"], ["4", "5", "6"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(path: Path, delimiter: str) -> None:
    rows = [["email", "name", "role"], ["a@x.de", "Smith, Ann; 1", "x"]]
    text = "".join(delimiter.join(f'"{value}"' for value in row) + "\n" for row in rows)
    assert read(path, text, required=["email"]) == rows[1:]


def test_the_delimiter_is_the_one_that_gives_the_required_columns(path: Path) -> None:
    assert read(path, "email;a,b,c,d\n1;2\n", required=["email"]) == [["1", "2"]]


def test_the_line_with_which_excel_names_its_delimiter_is_no_header(path: Path) -> None:
    assert read(path, "sep=;\r\nemail;name\r\n1;2\r\n", required=["email"]) == [["1", "2"]]


def test_blank_lines_are_no_items(path: Path) -> None:
    text = b"\n\r\n" + HEADER + b"\n" + LINE + b"\r\n   \n\n" + LINE + b" \n"
    assert read(path, text) == [GOOD, GOOD]


def test_a_row_of_empty_values_is_an_item(path: Path) -> None:
    assert read(path, HEADER + b',,\n"","",""\n') == [["", "", ""], ["", "", ""]]


def test_quoted_values_may_contain_anything(path: Path) -> None:
    text = HEADER + b'"a,b","say ""hi""","line 1\r\nline 2\n\nline 4"\n' + LINE
    assert read(path, text, piece_bytes=7) == [["a,b", 'say "hi"', "line 1\r\nline 2\n\nline 4"], GOOD]


def test_escapes_and_control_characters_are_kept(path: Path) -> None:
    assert read(path, HEADER + b"a\\b,\x01\x1f\x7f,\t\n") == [["a\\b", "\x01\x1f\x7f", "\t"]]


def test_a_single_column_is_read(path: Path) -> None:
    assert read(path, b'email\na\n" "\n\n""\nb\n') == [["a"], [" "], [""], ["b"]]


def test_ragged_rows_are_staged_as_they_are(path: Path) -> None:
    assert read(path, HEADER + b"1\n1,2\n" + LINE + b"1,2,3,4\n") == [["1"], ["1", "2"], GOOD, ["1", "2", "3", "4"]]


def test_columns_are_trimmed_and_in_lower_case_and_the_header_is_kept(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf E-Mail ,"Full\nName",,ROLE\n')
    with open_source(path) as source:
        assert source.facts.columns == ("e-mail", "full\nname", "column_3", "role")
        assert source.facts.header == (" E-Mail ", "Full\nName", "", "ROLE")
        assert contents_of(source) == []


# -- what is bad -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"a@x.de,A\0nn,member\n", "nul_byte"),
        (b"\0\n", "nul_byte"),
        (b'"a@x.de","A\0nn","member"\n', "nul_byte"),
        (b'a@x.de,"line\n\0\n",member\n', "nul_byte"),
        (b"a@x.de,Andr\xe9,member\n", "not_utf8"),
        (b'a@x.de,"Andr\xe9",member\n', "not_utf8"),
        (b'a@x.de,"line\nAndr\xe9\n",member\n', "not_utf8"),
        (b"a@x.de,\xed\xa0\x80,member\n", "not_utf8"),
        (b'a@x.de,"Ann,member\n', "unclosed_quote"),
        (b'"a@x.de,Ann,member\n', "unclosed_quote"),
        (b'a@x.de,Ann,"\n', "unclosed_quote"),
        (b"a@x.de," + b"x" * 200_000 + b",member\n", "row_too_long"),
        (b'a@x.de,"' + b"x" * 200_000 + b'",member\n', "row_too_long"),
        (b'a@x.de,"' + b"x\n" * 100_000 + b'",member\n', "row_too_long"),
        (b'a@x.de,"' + b'""\n' * 100_000 + b'",member\n', "row_too_long"),
        (b"," * 200_000 + b"\n", "row_too_long"),
        (b"x" * 200_000 + b'"\n', "row_too_long"),
        (b'"' + b"x" * 200_000 + b"\n", "row_too_long"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1 << 18, 1 << 12])
def test_a_bad_row_is_one_faulty_item_and_its_neighbours_are_unharmed(
    path: Path, bad: bytes, code: str, piece_bytes: int
) -> None:
    found = read(path, HEADER + LINE * 300 + bad + LINE * 300, piece_bytes=piece_bytes)
    assert codes(found) == ["ok"] * 300 + [code] + ["ok"] * 300
    assert [content for content in found if content != GOOD] == [found[300]]


@pytest.mark.parametrize("bad", [b'a@x.de,"Ann,member\n', b'"\n', b'a@x.de,"' + b"x" * 200_000])
def test_a_bad_row_at_the_end_is_one_faulty_item(path: Path, bad: bytes) -> None:
    found = read(path, HEADER + LINE * 3 + bad)
    assert found[:3] == [GOOD] * 3
    assert len(found) == 4
    assert isinstance(found[3], str)


def test_quotes_nobody_closed_cost_their_own_lines_only(path: Path) -> None:
    bad = b'a@x.de,"Ann,member\n'
    found = read(path, HEADER + (LINE * 50 + bad) * 20 + LINE)
    assert codes(found).count("unclosed_quote") == 20
    assert found.count(GOOD) == 1001


def test_rows_that_each_leave_a_quote_open_take_no_more_than_linear_time(path: Path) -> None:
    found = read(path, HEADER + b'x","y\n' * 20_000)
    assert codes(found) == ["unclosed_quote"] * 20_000


def test_the_raw_text_of_a_bad_row_is_kept_up_to_64_kb(path: Path) -> None:
    found = read(path, HEADER + b"a\0,b\r\n" + b"Andr\xe9,\n" + "é".encode() * 100_000 + b"\n")
    assert found[:2] == ["nul_byte\na\0,b", "not_utf8\nAndr\\xe9,"]
    assert found[2] == "row_too_long\n" + "é" * 32_768


def test_broken_utf16_spoils_its_own_rows_only(path: Path) -> None:
    lone = "email,name\na,b\n".encode("utf-16") + b"\x00\xd8" + ",x\nc,d\n".encode("utf-16-le")
    assert codes(read(path, lone)) == ["ok", "not_utf8", "ok"]
    assert codes(read(path, lone + b"x", piece_bytes=8)) == ["ok", "not_utf8", "ok", "not_utf8"]


def test_a_row_of_exactly_the_limit_is_an_item(path: Path) -> None:
    limit = 128 * 1024
    row = b"a," + b"x" * (limit - 5) + b",c\n"
    assert codes(read(path, HEADER + row[1:] + row + b"y" + row)) == ["ok", "ok", "row_too_long"]


def test_megabytes_of_blank_lines_are_not_the_end(path: Path) -> None:
    assert read(path, HEADER + LINE + b"\n" * 3_000_000 + LINE) == [GOOD, GOOD]
