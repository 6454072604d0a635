"""What the CSV source makes of a file is what the csv module makes of it, however the file is cut into pieces.

Except where the csv module would give up good rows: a row of several lines must be strictly quoted and have the
header's width, else its first line is faulty and reading goes on with the second. Blank lines are no rows.
"""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from haulage.infra.files.source import open_source

WIDTH = 3
HEADER = "a,b,c\n"

characters = st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from(list("ab \"',;\n\r\t\\é\x01😀"))
values = st.text(characters, max_size=6)
rubbish = st.text(st.sampled_from(list('ab,,""" \r\n\\é')), max_size=60)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
pieces = st.integers(4, 40)


def staged(text: str, piece_bytes: int, encoding: str = "utf-8") -> list[Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "input.csv"
        path.write_bytes(text.encode(encoding))
        with open_source(path, piece_bytes=piece_bytes) as source:
            found: list[Any] = []
            while contents := source.rows.take(7):
                found += map(orjson.loads, contents)
            assert source.rows.position == len(text.encode())
            return found


def with_the_csv_module(text: str) -> list[Any]:
    """The same by the rules alone, one row after the other, with the csv module's own reader."""
    lines = list(io.StringIO(text, newline=""))
    found: list[Any] = []
    while lines:
        row, used, strictly = first_row(lines)
        if used > len(lines) or (used > 1 and (len(row) != WIDTH or not strictly)):
            found.append("unclosed_quote\n" + lines[0].rstrip("\r\n"))
            used = 1
        elif "".join(lines[:used]).strip(" \r\n"):
            found.append(row)
        lines = lines[used:]
    return found


def first_row(lines: list[str]) -> tuple[list[str], int, bool]:
    """The row, the lines it takes (one more than there are where it does not end), whether it is strictly quoted."""
    ended = [*lines[:-1], lines[-1].rstrip("\r\n") + "\n"]
    reader = csv.reader([*ended, "\n"])
    row = next(reader)
    try:
        next(csv.reader(ended, strict=True))
    except csv.Error:
        return row, reader.line_num, False
    return row, reader.line_num, True


@given(
    rows=st.lists(st.lists(values, min_size=WIDTH, max_size=WIDTH)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=encodings,
    piece_bytes=pieces,
)
def test_rows_that_a_csv_writer_wrote_come_back(
    rows: list[list[str]], quoting: Any, encoding: str, piece_bytes: int
) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=quoting).writerows(rows)
    assert staged(HEADER + out.getvalue(), piece_bytes, encoding) == rows


@given(text=rubbish, piece_bytes=pieces)
def test_rubbish_is_read_as_the_csv_module_reads_it(text: str, piece_bytes: int) -> None:
    assert staged(HEADER + text, piece_bytes) == with_the_csv_module(text)


@given(
    good=st.lists(st.lists(st.text("abc é", min_size=1).map(lambda v: f"x{v}"), min_size=WIDTH, max_size=WIDTH)),
    bad=st.text(st.sampled_from(list('ab,,"" ')), max_size=20),
    piece_bytes=pieces,
    place=st.integers(0, 10),
)
def test_a_bad_line_costs_no_good_row(good: list[list[str]], bad: str, piece_bytes: int, place: int) -> None:
    lines = [",".join(row) + "\n" for row in good]
    lines.insert(min(place, len(lines)), bad + "\n")
    found = staged(HEADER + "".join(lines), piece_bytes)
    assert [content for content in found if content in good] == good or [*good, good[0]] == found
    assert len(found) <= len(good) + 1
