"""`haulage bench`: a table for people, or one JSON object."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from haulage.infra.bench.import_bench import Measured, Options, run
from haulage.infra.cli.terminal import emit, hint, out
from haulage.infra.settings import Settings

_MB = 1_000_000


def bench_import(settings: Settings, *, rows: int, repeat: int, large_rows: int, peer: bool, as_json: bool) -> None:
    """Measure, then show."""
    measured = run(settings, Options(rows=rows, repeat=repeat, large_rows=large_rows, peer=peer), hint)
    if as_json:
        emit(measured.as_json())
        return
    out().print(_rates(measured))
    out().print(_ratios(measured))
    if measured.memory:
        out().print(_memory(measured))
    for note in measured.notes:
        hint(note)


def _rates(measured: Measured) -> Table:
    table = Table("what", "items/s (median)", "lowest", "highest", title=f"{measured.rows:,} rows")
    rows: Sequence[tuple[str, list[float]]] = (
        ("raw COPY, users and memberships, one go", measured.raw),
        ("raw COPY, users alone, one go", measured.raw_users_only),
        ("haulage", measured.haulage),
        ("haulage, 1 % bad rows", measured.haulage_bad),
        ("peer, a durable step per chunk of 1,000", [measured.peer_chunk] if measured.peer_chunk else []),
        ("peer, a durable step per item", [measured.peer_item] if measured.peer_item else []),
    )
    for name, rates in rows:
        if rates:
            table.add_row(name, *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates))))
    return table


def _ratios(measured: Measured) -> Table:
    table = Table("ratio", "", title="ratios (medians of pairs)")
    for name, ratio in measured.ratios().items():
        table.add_row(name, f"{ratio:.2f}")
    return table


def _memory(measured: Measured) -> Table:
    small, large = sorted(measured.memory)
    table = Table("process", f"{small:,} rows", f"{large:,} rows", title="peak memory, MB")
    for name in sorted(measured.memory[small].keys() & measured.memory[large].keys()):
        table.add_row(name, *(f"{measured.memory[rows][name] / _MB:,.0f}" for rows in (small, large)))
    return table
