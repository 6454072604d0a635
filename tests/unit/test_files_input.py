"""Inputs that can't be used as a whole are refused with a sentence that says what is wrong, where, and what to do."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from files_reading import contents_of

from haulage.domain.errors import InputError
from haulage.infra.files.source import open_source

SECRET = "anna.smith@example.com"


def refusal(path: Path, data: bytes | None = None, **options: object) -> str:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        open_source(path, **options)  # type: ignore[arg-type]
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


# -- the file ----------------------------------------------------------------------------------------------------------
def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "missing.csv does not exist; check the path" in refusal(tmp_path / "missing.csv")
    assert "does not exist" in refusal(tmp_path / "no" / "folder.csv")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path, file_format="csv")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a pipe" in refusal(tmp_path / "pipe.csv")


def test_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "/dev/zero is a device" in refusal(Path("/dev/zero"), file_format="csv")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.csv")
        assert "is a socket" in refusal(Path("socket.csv"))


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody may read; who is root is somebody else for as long."""
    path = tmp_path / "users.csv"
    path.write_text("email\n")
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield path
    if root:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_is_refused(forbidden: Path) -> None:
    assert "permission denied" in refusal(forbidden)


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 300 + ".csv"])
def test_a_path_that_can_not_be_is_refused(tmp_path: Path, name: str) -> None:
    assert "check the path" in refusal(tmp_path / name)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "b.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    assert "a.csv can't be opened" in refusal(tmp_path / "a.csv")


def test_only_files_within_the_allowed_folders_are_opened(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-not"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "users.csv").write_text("email\na\n")
    (inside / "link.csv").symlink_to(outside / "users.csv")
    (outside / "link.csv").symlink_to(inside / "users.csv")
    for path in (
        outside / "users.csv",
        inside / "link.csv",
        inside / ".." / "in-not" / "users.csv",
        outside / "none.csv",
    ):
        assert "is not within the folders that inputs may come from" in refusal(path, folders=[inside])
    for path in (inside / "users.csv", outside / "link.csv"):
        with open_source(path, folders=[inside]) as source:
            assert contents_of(source) == [["a"]]
    assert "(none)" in refusal(inside / "users.csv", folders=[])


def test_people_read_the_name_they_gave(tmp_path: Path) -> None:
    path = tmp_path / "tmp1234"
    assert refusal(path, b"", name="object users.csv").startswith("object users.csv is empty")


# -- the format --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["users", "users.xml", "users.csv.bak"])
def test_a_format_that_the_name_does_not_tell_has_to_be_said(tmp_path: Path, name: str) -> None:
    assert "say which format it has" in refusal(tmp_path / name, b"email\n")
    with open_source(tmp_path / name, file_format="csv") as source:
        assert source.facts.columns == ("email",)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    assert "`xml` is not known; it can be csv or ndjson" in refusal(tmp_path / "a.xml", b"email\n", file_format="xml")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\xd0\xcf\x11\xe0rest", "old Excel workbook"),
        (b"PAR1rest", "Parquet"),
        (b"\x1f\x8brest", "gzip"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"%PDF-1.4", "PDF"),
        ("\ufeffemail\n".encode("utf-32-le"), "UTF-32"),
        ("\ufeffemail\n".encode("utf-32-be"), "UTF-32"),
        ("email,name\na,b\n".encode("utf-16-le"), "UTF-16 without a byte order mark; save it as UTF-8"),
        ("email,name\na,b\n".encode("utf-16-be"), "UTF-16 without a byte order mark; save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["users.csv", "users.ndjson"])
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    assert says in refusal(tmp_path / name, data)


# -- the header --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("data", [b"", b"\n\r\n\n", b"\xef\xbb\xbf", b"   \n", "\ufeff\n".encode("utf-16-le")])
@pytest.mark.parametrize("name", ["users.csv", "users.ndjson"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    assert "is empty" in refusal(tmp_path / name, data, required=["email"])


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("name,role", "row 1: the header has no column `email`"),
        ("role", "row 1: the header has no columns `email`, `name`"),
        (f"{SECRET},Anna Smith,member", "row 1: the header has no columns `email`, `name`"),
        (f'"{SECRET}";Anna', "row 1: the header has no columns `email`, `name`"),
        (f"email,name,{SECRET},x, {SECRET.upper()}", "row 1: columns 3 and 5 have the same name; give each"),
        ("email,name, EMAIL ", "row 1: columns 1 and 3 have the same name `email`; give each column its own"),
        (f'"email,name,{SECRET}', "row 1"),
        (f'email,name,"{SECRET}\n1,2,3', "row 1: a quoted column name does not end; close the quote"),
        ("email,name," + "x" * 200_000, "row 1: the header is longer than 128 KB"),
        (f"email,name,{SECRET}\0", "row 1: the header contains a NUL character"),
    ],
)
def test_a_header_that_will_not_do_is_refused_without_repeating_it(tmp_path: Path, header: str, says: str) -> None:
    sentence = refusal(tmp_path / "users.csv", f"{header}\na,b,c\n".encode(), required=["email", "name"])
    assert says in sentence
    assert "anna" not in sentence.lower()


def test_a_column_name_in_another_encoding_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path / "users.csv", b"email,Pr\xe9nom\n", required=["email"])
    assert "row 1: the name of column 2 is not text in UTF-8; save the file as UTF-8" in sentence


def test_required_columns_are_found_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(" EMAIL ,Name\n")
    with open_source(tmp_path / "users.csv", required=["Email", "name"]) as source:
        assert source.facts.columns == ("email", "name")


@pytest.mark.parametrize("data", [b'[\n{"a": 1},\n{"a": 2}\n]', b'[{"a": 1},\n{"a": 2}]', b"\n  [\n"])
def test_one_json_array_is_no_ndjson(tmp_path: Path, data: bytes) -> None:
    assert "is one JSON array, not NDJSON; write one object a line" in refusal(tmp_path / "users.ndjson", data)


def test_no_refusal_leaves_a_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for data in (b"", b"name\n", b"PK\x03\x04", b"email,email\n"):
        refusal(tmp_path / "users.csv", data, required=["email"])
    assert len(os.listdir("/proc/self/fd")) == before
