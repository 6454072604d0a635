"""Whatever is in a file, reading it takes some megabytes."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from files_reading import codes

from haulage.infra.files.rejects import Reject, write_rejects
from haulage.infra.files.source import open_source
from haulage.infra.staging import make_blocks

MEGABYTE = 1 << 20
SIZE = 64 * MEGABYTE
LITTLE = 40 * MEGABYTE


def peak(do: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(path: Path, parts: list[tuple[bytes, int]]) -> Path:
    """A file of parts, each repeated up to a size."""
    with path.open("wb") as file:
        for part, size in parts:
            for _ in range(0, size, len(part) * 1000):
                file.write(part * min(1000, max(1, size // len(part))))
    return path


ONE_LINE = [(b"x", SIZE)]
ONE_VALUE = [(b'a,"', 1), (b'line, ""\n', SIZE), (b'",c\n', 1)]
NEVER_CLOSED = [(b'a,"', 1), (b"x", SIZE)]
MANY_COLUMNS = [(b",", SIZE)]
LONG_ROWS = [(b"a," + b"x" * 100_000 + b',"y"\n', SIZE)]
LONG_QUOTED_ROWS = [(b'a,"' + (b"x" * 99 + b"\n") * 1000 + b'",y\n', SIZE)]
GOOD_ROWS = [(b"a@x.de,Ann Smith and some more of a name for those who have one,member\n", SIZE // 16)]
BLANK_LINES = [(b"\n", SIZE // 100)]


@pytest.mark.parametrize(
    "parts",
    [ONE_LINE, ONE_VALUE, NEVER_CLOSED, MANY_COLUMNS, LONG_ROWS, LONG_QUOTED_ROWS, GOOD_ROWS, BLANK_LINES],
    ids=["line", "value", "open", "columns", "rows", "quoted rows", "good rows", "blank lines"],
)
def test_reading_csv_takes_little_memory(tmp_path: Path, parts: list[tuple[bytes, int]]) -> None:
    path = filled(tmp_path / "users.csv", [(b"email,name,role\na,b,c\n", 1), *parts])
    with open_source(path, required=["email"]) as source:
        assert peak(lambda: sum(block.items for block in make_blocks(source))) < LITTLE
        assert source.rows.position == path.stat().st_size


@pytest.mark.parametrize(
    "line", [b"x" * SIZE, b'{"a": "' + b"x" * SIZE + b'"}', (b'{"a": "' + b"x" * 100_000 + b'"}\n') * (SIZE // 100_000)]
)
def test_reading_ndjson_takes_little_memory(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "users.ndjson"
    path.write_bytes(b'{"email": "a"}\n' + line)
    with open_source(path) as source:
        assert peak(lambda: sum(block.items for block in make_blocks(source))) < LITTLE


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (ONE_LINE, "row_too_long"),
        (ONE_VALUE, "row_too_long"),
        (NEVER_CLOSED, "row_too_long"),
        (MANY_COLUMNS, "row_too_long"),
    ],
)
def test_a_huge_row_is_one_faulty_item_among_good_ones(
    tmp_path: Path, parts: list[tuple[bytes, int]], expected: str
) -> None:
    path = filled(tmp_path / "users.csv", [(b"email,name,role\na,b,c\n", 1), *parts, (b"\na,b,c\n", 1)])
    with open_source(path) as source:
        contents = [value for block in make_blocks(source) for value in block.leaves.values()]
    assert codes(contents) == ["ok", expected, "ok"]


def test_writing_rejects_takes_little_memory(tmp_path: Path) -> None:
    def rejects() -> Iterator[Reject]:
        for row in range(50_000):
            yield Reject(row, "invalid", "email", "not valid", ["x" * 1000, "y"])

    path = tmp_path / "rejects.csv"
    assert peak(lambda: write_rejects(path, rejects(), file_format="csv", columns=["a", "b"])) < MEGABYTE
    assert path.stat().st_size > LITTLE
