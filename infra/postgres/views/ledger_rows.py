"""The ledger in PostgreSQL: its rows for the projector, and what readers ask of it."""

from collections.abc import Collection, Iterator, Sequence, Set
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection
from pydantic import TypeAdapter

from haulage.domain.chunk import ChunkApplied, ChunkCompensated
from haulage.domain.event import Recorded
from haulage.domain.items import OutcomeKind, OutcomeRuns, each
from haulage.infra.postgres.views.rows import Row, Table
from haulage.projections.ledger import Entry, ItemOutcome, Key, Views, item_outcome, key

TABLE = Table(
    "ledger",
    key=("operation", "step", "first"),
    columns={
        "operation": "uuid",
        "step": "text",
        "first": "bigint",
        "last": "bigint",
        "position": "bigint",
        "at": "timestamptz",
        "attempt": "integer",
        "succeeded": "bigint",
        "skipped": "bigint",
        "rejected": "bigint",
        "exceptions": "jsonb",
        "compensated_position": "bigint",
        "compensated_at": "timestamptz",
        "conflicting": "jsonb",
    },
)

_CHUNKS_A_PAGE = 20
"""Rejects are read this many chunks at a time: at most some megabytes, whatever the size of the operation."""

_RUNS = TypeAdapter(tuple[OutcomeRuns, ...])


class Reject(NamedTuple):
    """An item that was rejected in a step."""

    ordinal: int
    step: str
    code: str
    field: str | None


# -- for the projector -------------------------------------------------------------------------------------------------
def load(connection: Connection[Any], events: Sequence[Recorded]) -> Views:
    """The rows that folding `events` will look for: of chunks compensated in them that were applied before."""
    applied, compensated = set(), set()
    for recorded in events:
        if isinstance(recorded.event, ChunkApplied):
            applied.add(key(recorded, recorded.event))
        elif isinstance(recorded.event, ChunkCompensated):
            compensated.add(key(recorded, recorded.event))
    return {Key(e.operation, e.step, e.first): e for e in _by_key(connection, compensated - applied)}


def save(connection: Connection[Any], views: Views, known: Set[Key]) -> None:
    """Write the rows; those whose key is in `known` were loaded."""
    TABLE.insert(connection, [_row(entry) for key, entry in views.items() if key not in known])
    TABLE.update(connection, [_row(entry) for key, entry in views.items() if key in known])


# -- for readers -------------------------------------------------------------------------------------------------------
def ledger_item(connection: Connection[Any], operation: UUID, ordinal: int) -> list[ItemOutcome]:
    """What happened to one item, a step at a time, in the order it happened; empty where nothing has yet."""
    # The steps are found by leaps through the primary key, and then one row in each, by its place in the table: a join
    # by key would be planned as if there were a hundred steps, and read the whole operation instead.
    clause = """
        where t.ctid = any (array (
            with recursive steps (step) as (
                select min(step) from haulage.ledger where operation = %(operation)s
                union all
                select (select min(step) from haulage.ledger where operation = %(operation)s and step > steps.step)
                from steps where steps.step is not null
            )
            select (
                select l.ctid from haulage.ledger l
                where l.operation = %(operation)s and l.step = steps.step and l.first <= %(ordinal)s
                order by l.first desc limit 1
            )
            from steps where steps.step is not null
        ))
        and t.last >= %(ordinal)s
        order by t.position
    """
    rows = TABLE.select(connection, clause, {"operation": operation, "ordinal": ordinal})
    return [item_outcome(_entry(row), ordinal) for row in rows]


def rejects(connection: Connection[Any], operation: UUID) -> Iterator[Reject]:
    """Every rejected item, by the name of the step and then in ascending order.

    Reads as it goes, a page of chunks at a time: memory is flat, and no transaction stays open while the caller
    writes. Chunks applied meanwhile may or may not be included.
    """
    clause = """
        where t.operation = %(operation)s and t.rejected > 0 and (t.step, t.first) > (%(step)s, %(first)s)
        order by t.step, t.first limit %(limit)s
    """
    after = Key(operation, "", 0)
    while True:
        rows = TABLE.select(connection, clause, after._asdict() | {"limit": _CHUNKS_A_PAGE})
        for entry in map(_entry, rows):
            rejected = (group for group in entry.exceptions if group.kind is OutcomeKind.REJECTED)
            for outcome in each(rejected):
                yield Reject(outcome.ordinal, entry.step, outcome.code, outcome.field)
            after = Key(operation, entry.step, entry.first)
        if len(rows) < _CHUNKS_A_PAGE:
            return


def _by_key(connection: Connection[Any], keys: Collection[Key]) -> list[Entry]:
    if not keys:
        return []
    operations, steps, firsts = zip(*keys, strict=True)
    clause = """
        join unnest(%(operations)s::uuid[], %(steps)s::text[], %(firsts)s::bigint[]) as k (operation, step, first)
        using (operation, step, first)
    """
    values = {"operations": list(operations), "steps": list(steps), "firsts": list(firsts)}
    return [_entry(row) for row in TABLE.select(connection, clause, values)]


# -- rows --------------------------------------------------------------------------------------------------------------
def _row(entry: Entry) -> Row:
    return (
        entry.operation,
        entry.step,
        entry.first,
        entry.last,
        entry.position,
        entry.at,
        entry.attempt,
        entry.succeeded,
        entry.skipped,
        entry.rejected,
        _json(entry.exceptions),
        entry.compensated_position,
        entry.compensated_at,
        _json(entry.conflicting),
    )


def _entry(row: Row) -> Entry:
    values = dict(zip(TABLE.columns, row, strict=True))
    for runs in ("exceptions", "conflicting"):
        values[runs] = _RUNS.validate_python(values[runs])
    return Entry(**values)


def _json(runs: tuple[OutcomeRuns, ...]) -> str:
    return _RUNS.dump_json(runs).decode() if runs else "[]"
