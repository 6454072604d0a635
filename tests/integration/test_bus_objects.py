"""Inputs in the object store: what comes out is what went in, private, and in little memory."""

import hashlib
import json
import os
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_server import BusServer, until
from nats.js.object_store import ObjectStore

from haulage.domain.errors import InputError, NotReachableError
from haulage.infra.nats import object_reader, objects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.object_reader import ObjectReader
from haulage.infra.nats.objects import InputObjects, NoSpaceError
from haulage.infra.nats.streams import INPUTS_BUCKET

STREAM = f"OBJ_{INPUTS_BUCKET}"


@pytest.fixture
def bus(nats_url: str) -> Iterator[Bus]:
    with Bus(nats_url) as bus:
        yield bus


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "People of Example.CSV"
    path.write_bytes(b"email,name\n" + b"a@example.org,A\n" * 50_000)
    return path


def store(bus: Bus) -> ObjectStore:
    return bus.call(bus.jetstream.object_store(INPUTS_BUCKET))


def test_a_file_comes_back_byte_by_byte_in_a_file_only_we_can_read(bus: Bus, csv: Path, tmp_path: Path) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    path = inputs.download(name, tmp_path / "private")
    assert path.read_bytes() == csv.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert name == f"{hashlib.sha256(csv.read_bytes()).hexdigest()}.csv"
    assert path.suffix == ".csv"


def test_a_fetched_file_is_gone_after_its_use(bus: Bus, csv: Path, tmp_path: Path) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    with inputs.fetched(name, tmp_path / "private") as path:
        assert path.read_bytes() == csv.read_bytes()
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 131072, b"x" * 131073])
def test_files_of_any_size_come_back(bus: Bus, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some").write_bytes(content)
    inputs = InputObjects(bus)
    assert inputs.download(inputs.upload(tmp_path / "some"), tmp_path).read_bytes() == content


def test_the_same_content_is_stored_once(bus: Bus, csv: Path, tmp_path: Path) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    before = bus.call(bus.jetstream.stream_info(STREAM)).state.last_seq
    copy = tmp_path / "copy.csv"
    copy.write_bytes(csv.read_bytes())
    assert inputs.upload(copy) == name
    assert bus.call(bus.jetstream.stream_info(STREAM)).state.last_seq == before


def test_an_object_that_is_not_there_is_told_in_a_sentence(bus: Bus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no input nowhere\.csv .* Hand the file over again"):
        InputObjects(bus).download("nowhere.csv", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("problem", ["missing", "directory"])
def test_a_file_that_can_not_be_read_is_told_in_a_sentence(bus: Bus, tmp_path: Path, problem: str) -> None:
    path = tmp_path if problem == "directory" else tmp_path / "missing"
    with pytest.raises(InputError, match=str(path)):
        InputObjects(bus).upload(path)


def test_an_object_over_the_limit_is_refused_before_it_is_fetched(bus: Bus, csv: Path, tmp_path: Path) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    with pytest.raises(InputError, match=r"800,011 bytes; the limit is 1,000"):
        inputs.download(name, tmp_path / "private", limit_bytes=1000)
    assert list((tmp_path / "private").iterdir()) == []


def test_an_object_that_lost_a_chunk_is_refused(bus: Bus, csv: Path, tmp_path: Path) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    bus.call(bus.jetstream.delete_msg(STREAM, 3))
    with pytest.raises(InputError, match=r"incomplete .*6 of its 7 chunks.*Hand it over again"):
        inputs.download(name, tmp_path / "private")
    assert list((tmp_path / "private").iterdir()) == []


def describe(bus: Bus, name: str, **changes: object) -> None:
    """Change what an object says about itself, as somebody could who may write there."""
    info = bus.call(store(bus).get_info(name)).as_dict() | changes
    subject = f"$O.{INPUTS_BUCKET}.M.{urlsafe_b64encode(name.encode()).decode()}"
    bus.call(bus.jetstream.publish(subject, json.dumps(info).encode(), headers={"Nats-Rollup": "sub"}))


@pytest.mark.parametrize("changes", [{"size": 800_010}, {"digest": "SHA-256=" + "A" * 43 + "="}])
def test_an_object_that_is_not_what_it_says_is_refused(
    bus: Bus, csv: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    describe(bus, name, **changes)
    with pytest.raises(InputError, match="incomplete"):
        inputs.download(name, tmp_path / "private")
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.parametrize("changes", [{"nuid": ">"}, {"nuid": "*"}, {"options": {"link": {"bucket": "b", "name": "n"}}}])
def test_an_object_that_points_at_others_is_refused(
    bus: Bus, csv: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)
    describe(bus, name, **changes)
    with pytest.raises(InputError, match="no plain object"):
        inputs.download(name, tmp_path)


def test_a_file_that_changes_while_it_is_handed_over_is_refused(
    bus: Bus, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = InputObjects(bus)
    really = inputs._is_there

    def change_first(*args: object) -> bool:
        with csv.open("ab") as file:
            file.write(b"late@example.org,L\n")
        return really(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(inputs, "_is_there", change_first)
    with pytest.raises(InputError, match="changed while"):
        inputs.upload(csv)


def test_a_full_disk_is_told_in_a_sentence(
    bus: Bus, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = InputObjects(bus)
    name = inputs.upload(csv)

    def full(prefix: str, suffix: str, dir: Path) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "gone")

    monkeypatch.setattr(objects.tempfile, "mkstemp", full)  # type: ignore[attr-defined]
    monkeypatch.setattr(objects, "_start_over", lambda file: None)
    with pytest.raises(NoSpaceError, match="no space left"):
        inputs.download(name, tmp_path)


def test_when_nats_goes_away_it_is_an_error_and_no_hang(tmp_path: Path, csv: Path) -> None:
    server = BusServer(tmp_path / "nats").start()
    try:
        with Bus(server.url) as bus:
            inputs = InputObjects(bus)
            name = inputs.upload(csv)
            server.kill()
            until(lambda: not bus.connected)
            with pytest.raises(NotReachableError):
                inputs.download(name, tmp_path / "private")
    finally:
        server.kill()


def test_when_nats_goes_away_within_a_download_the_next_one_succeeds(
    tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_reader, "GROUP_CHUNKS", 2)
    monkeypatch.setattr(object_reader, "STALL_SECONDS", 1.0)
    server = BusServer(tmp_path / "nats").start()
    really = ObjectReader._write

    def kill_within(self: ObjectReader, *args: Any) -> None:
        really(self, *args)
        if self._chunks == 4:
            server.kill()

    try:
        with Bus(server.url) as bus:
            inputs = InputObjects(bus)
            name = inputs.upload(csv)
            with monkeypatch.context() as patched:
                patched.setattr(ObjectReader, "_write", kill_within)
                with pytest.raises(NotReachableError):
                    inputs.download(name, tmp_path / "private")
            assert list((tmp_path / "private").iterdir()) == []
            server.start()
            until(lambda: bus.connected)
            assert inputs.download(name, tmp_path / "private").read_bytes() == csv.read_bytes()
    finally:
        server.kill()


MEMORY = """
import resource, sys
from pathlib import Path
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.object_reader import ObjectReader
from haulage.infra.nats.objects import InputObjects

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

url, small, large = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with Bus(url) as bus:
    inputs = InputObjects(bus)
    peaks = []
    for path in (small, large):
        with inputs.fetched(inputs.upload(path), path.parent) as copy:
            assert copy.stat().st_size == path.stat().st_size
        peaks.append(peak())
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_file(nats_url: str, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(os.urandom(10 << 20))
    with large.open("wb") as file:
        for _ in range(150):
            file.write(os.urandom(1 << 20))
    command = [sys.executable, "-c", MEMORY, nats_url, str(small), str(large)]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(grown) < 20, f"{grown} MB more for 140 MB more"
