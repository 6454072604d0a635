"""Where each projection is: its checkpoint, its generation, and what stopped it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import args_row, class_row, tuple_row

COUNTED_EVENTS = 1_000_000
"""Events behind are counted up to this many."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a projection is. `generation` counts how often it was emptied to be rebuilt."""

    position: int
    generation: int


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """Where a projection is, compared with the log.

    `behind_events` is counted up to `COUNTED_EVENTS`; `behind_seconds` is the age of the first event not taken in yet,
    0 when there is none. The `stopped_…` fields are None while it goes on.
    """

    name: str
    position: int
    generation: int
    behind_positions: int
    behind_events: int
    behind_seconds: float
    stopped_position: int | None
    stopped_error: str | None
    stopped_at: datetime | None


def read(connection: Connection[Any], names: Iterable[str]) -> dict[str, Place]:
    """Where the projections `names` are; a new one is at the beginning."""
    with connection.cursor(row_factory=args_row(lambda name, *place: (name, Place(*place)))) as cursor:
        return dict(cursor.execute(_READ, (list(names),), prepare=True).fetchall())


def status(connection: Connection[Any], names: Iterable[str]) -> list[ProjectionStatus]:
    """Where the projections `names` are, and how far behind the log."""
    with connection.cursor(row_factory=class_row(ProjectionStatus)) as cursor:
        return cursor.execute(_STATUS, {"names": list(names), "counted": COUNTED_EVENTS}).fetchall()


def held(connection: Connection[Any], name: str) -> tuple[int, bool]:
    """Generation, and whether the projection is said to have stopped.

    To be asked after the transaction has moved the checkpoint: until it ends, nobody else changes them.
    """
    query = "select generation, stopped_position is not null from haulage.projections where name = %s"
    with connection.cursor(row_factory=tuple_row) as cursor:
        generation, stopped = cursor.execute(query, (name,), prepare=True).fetchone() or (0, False)
        return generation, stopped


def stop(connection: Connection[Any], name: str, position: int, error: str) -> None:
    """Say that the event at `position` stopped the projection; what was said before is kept if it was the same."""
    connection.execute(_STOP, {"name": name, "position": position, "error": error})


def go_on(connection: Connection[Any], name: str) -> None:
    """Forget what stopped the projection."""
    connection.execute(_GO_ON, (name,))


def begin_generation(connection: Connection[Any], name: str) -> None:
    """Count the generation up, and forget what stopped the one before."""
    connection.execute(_BEGIN_GENERATION, (name,))


_READ = """
select name, coalesce(c.notification_id, 0), coalesce(p.generation, 0)
from unnest(%s::text[]) as name
left join haulage.checkpoints c on c.application_name = name
left join haulage.projections p using (name)
"""

_STATUS = """
with place as (
    select place, name, coalesce(c.notification_id, 0) as position, coalesce(p.generation, 0) as generation,
        p.stopped_position, p.stopped_error, p.stopped_at
    from unnest(%(names)s::text[]) with ordinality as n (name, place)
    left join haulage.checkpoints c on c.application_name = name
    left join haulage.projections p using (name)
)
select name, position, generation,
    greatest(0, coalesce((select max(notification_id) from haulage.events), 0) - position) as behind_positions,
    (
        select count(*) from (
            select from haulage.events where notification_id > position limit %(counted)s
        ) as e
    ) as behind_events,
    coalesce((
        select extract(epoch from clock_timestamp() - recorded_at)::double precision from haulage.events
        where notification_id > position order by notification_id limit 1
    ), 0) as behind_seconds,
    stopped_position, stopped_error, stopped_at
from place order by place
"""

_STOP = """
insert into haulage.projections as p (name, stopped_position, stopped_error, stopped_at)
values (%(name)s, %(position)s, %(error)s, clock_timestamp())
on conflict (name) do update set stopped_position = excluded.stopped_position,
    stopped_error = excluded.stopped_error, stopped_at = excluded.stopped_at
where (p.stopped_position, p.stopped_error) is distinct from (excluded.stopped_position, excluded.stopped_error)
"""

_GO_ON = """
update haulage.projections set stopped_position = null, stopped_error = null, stopped_at = null
where name = %s
"""

_BEGIN_GENERATION = """
insert into haulage.projections as p (name, generation) values (%s, 1)
on conflict (name) do update set generation = p.generation + 1,
    stopped_position = null, stopped_error = null, stopped_at = null
"""
