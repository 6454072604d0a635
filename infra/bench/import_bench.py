"""`haulage bench import`: P1, P2 and P3 of docs/performance.md, as ratios in one run on one machine."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from haulage.infra.bench.haulage_import import BenchError, Outcome, System, a_system
from haulage.infra.bench.memory import PeakMemory
from haulage.infra.bench.peer import PeerError, measure_peer, prepare_peer
from haulage.infra.bench.raw_copy import copy_users
from haulage.infra.bench.users_file import write_users
from haulage.infra.settings import Settings

PEER_CHUNK_ITEMS = 1000
PEER_ITEM_ROWS = 2000
SMALL_ROWS = 100_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. `large_rows` 0 leaves the memory out."""

    rows: int = 1_000_000
    repeat: int = 3
    large_rows: int = 10_000_000
    peer: bool = True


@dataclass(slots=True)
class Measured:
    """Items a second of each run, peaks of memory in bytes by rows and process, and notes on what did not run."""

    rows: int
    raw: list[float] = field(default_factory=list)
    raw_users_only: list[float] = field(default_factory=list)
    haulage: list[float] = field(default_factory=list)
    haulage_bad: list[float] = field(default_factory=list)
    peer_chunk: float | None = None
    peer_item: float | None = None
    memory: dict[int, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ratios(self) -> dict[str, float]:
        """What the bars are about; the median of pairwise ratios where runs were paired."""
        found = {
            "P1 haulage / raw COPY, users and memberships": _paired(self.haulage, self.raw),
            "P1 haulage / raw COPY, users alone": _paired(self.haulage, self.raw_users_only),
            "P2 haulage with 1 % bad / without": _paired(self.haulage_bad, self.haulage),
        }
        ours = statistics.median(self.haulage)
        if self.peer_chunk and self.peer_item:
            found["P1 haulage / peer, a step per chunk"] = ours / self.peer_chunk
            found["P1 haulage / peer, a step per item"] = ours / self.peer_item
        if len(self.memory) == 2:
            small, large = (self.memory[rows] for rows in sorted(self.memory))
            for name in sorted(small.keys() & large.keys()):
                found[f"P3 memory of {name}, large / small"] = large[name] / max(1, small[name])
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return asdict(self) | {"ratios": self.ratios()}


def run(settings: Settings, options: Options, say: Say) -> Measured:
    """Measure in a home of its own below the given one, which is removed afterwards."""
    home = settings.home / "bench"
    shutil.rmtree(home / "files", ignore_errors=True)
    (home / "files").mkdir(parents=True)
    own = settings.model_copy(update={"home": home / "home"})
    measured = Measured(options.rows)
    try:
        clean = write_users(home / "files" / "clean.csv", options.rows, bad_share=0.0)
        bad = write_users(home / "files" / "bad.csv", options.rows, bad_share=0.01)
        with a_system(own) as system:
            _speed(system, clean, bad, options, measured, say)
            if options.peer:
                _peer(system, home / "peer", clean, measured, say)
        if options.large_rows:
            _memory(own, home / "files", options.large_rows, measured, say)
    finally:
        shutil.rmtree(home / "files", ignore_errors=True)
    return measured


def _speed(system: System, clean: Path, bad: Path, options: Options, measured: Measured, say: Say) -> None:
    for turn in range(options.repeat):
        say(f"round {turn + 1} of {options.repeat}: raw COPY")
        for memberships, rates in ((True, measured.raw), (False, measured.raw_users_only)):
            system.empty_directory()
            seconds = copy_users(system.admin_url, clean, system.organization, memberships=memberships)
            rates.append(options.rows / seconds)
        for path, rates, name in ((clean, measured.haulage, "Haulage"), (bad, measured.haulage_bad, "1 % bad")):
            say(f"round {turn + 1} of {options.repeat}: {name}")
            system.empty_directory()
            outcome = _checked(system.import_users(path), options.rows)
            rates.append(options.rows / outcome.seconds)


def _checked(outcome: Outcome, rows: int) -> Outcome:
    if outcome.counts.done != rows:
        raise BenchError(
            f"An import of {rows:,} rows ended {outcome.status} with {outcome.counts.done:,} of them done."
        )
    return outcome


def _peer(system: System, folder: Path, path: Path, measured: Measured, say: Say) -> None:
    say("the peer")
    try:
        python = prepare_peer(folder)
        with psycopg.connect(system.admin_url, autocommit=True) as connection:
            connection.execute("drop database if exists peer with (force)")
            connection.execute("create database peer")
        system.empty_directory()
        peer_database = psycopg.conninfo.conninfo_to_dict(system.admin_url)["dbname"]
        system_url = _other_database(system.admin_url, str(peer_database), "peer")
        rates = measure_peer(
            python,
            system_url,
            system.admin_url,
            path,
            system.organization,
            chunk_items=PEER_CHUNK_ITEMS,
            item_rows=PEER_ITEM_ROWS,
        )
        measured.peer_chunk, measured.peer_item = rates.chunk, rates.item
    except PeerError as error:
        measured.notes.append(str(error))


def _other_database(url: str, old: str, new: str) -> str:
    before, _, after = url.rpartition(f"/{old}")
    return f"{before}/{new}{after}"


def _memory(settings: Settings, folder: Path, large_rows: int, measured: Measured, say: Say) -> None:
    for rows in (SMALL_ROWS, large_rows):
        say(f"memory with {rows:,} rows")
        path = write_users(folder / "memory.csv", rows, bad_share=0.0)
        with a_system(settings) as system:
            system.empty_directory()
            peak = PeakMemory(system.processes)
            peak.start()
            _checked(system.import_users(path), rows)
            measured.memory[rows] = peak.stop()
            system.empty_directory()
        path.unlink()


def _paired(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
