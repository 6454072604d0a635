"""The log and the views of a test's database: what is told goes in, and what the tables hold comes out."""

from collections.abc import Sequence
from typing import Any

from histories import Told, new_events

from haulage.domain import chunk, operation
from haulage.domain.event import Recorded, topics
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import EventMapper
from haulage.infra.postgres.views.projection import PROJECTIONS, Projection

LOG = PostgresLog(EventMapper(topics([*operation.EVENTS, *chunk.EVENTS])))

PROGRESS, LEDGER, TIMELINE = PROJECTIONS


def write(database: Database, told: Told | Sequence[Recorded], group: int = 50) -> None:
    """Append what was told, a transaction for each group of events; times become the database's."""
    recorded = told.recorded if isinstance(told, Told) else told
    for start in range(0, len(recorded), group):
        with database.transaction() as connection:
            LOG.append(connection, LOG.prepare([new_events(r) for r in recorded[start : start + group]]))


def whole_log(database: Database) -> list[Recorded]:
    """Every event, as the log tells it."""
    with database.connection() as connection:
        return LOG.read(connection, 0, 1_000_000)


def rows(database: Database, projection: Projection) -> list[tuple[Any, ...]]:
    """The rows of a view, in the order of their key."""
    table = projection.rows.TABLE
    with database.connection() as connection:
        return table.select(connection, "order by " + ", ".join(table.key), {})


def expected_rows(database: Database, projection: Projection) -> list[tuple[Any, ...]]:
    """What the rows of a view must be: the whole log folded in one go in memory, and written to an empty table."""
    views: dict[Any, Any] = {}
    for recorded in whole_log(database):
        views = projection.fold(views, recorded)
    table = projection.rows.TABLE
    with database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute(f"truncate haulage.{table.name}".encode())
        projection.rows.save(connection, views, frozenset())
        return table.select(connection, "order by " + ", ".join(table.key), {})
