"""The append: events of any number of streams into the log, in one statement of the caller's transaction.

Crash story. Stored events are made once (`PostgresLog.prepare`), with ids inside; every attempt to append them uses the
same bytes. If the answer to a commit was lost, the next attempt waits for the earlier transaction, should that still
be ending, and then either succeeds or meets the version already taken: `was_recorded`, asked in a new transaction,
tells whether it was taken by these very events.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import Connection
from psycopg.rows import scalar_row, tuple_row

from haulage.domain.errors import ConflictError, LateAppendError

_APPEND = "select haulage.append(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"

_POSITIONS = """
select position from unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]) with ordinality
    as new (stream, version, topic, state, place)
left join lateral (
    select notification_id as position from haulage.events e
    where e.originator_id = new.stream and e.originator_version = new.version
        and e.topic = new.topic and e.state = new.state
) as e on true
order by place
"""

VERSION_MISSING = "23L01"
LATE_APPEND = "40L01"


def append(connection: Connection[Any], events: Sequence[StoredEvent]) -> list[int]:
    """Append within the open transaction of `connection`; the positions, in order.

    ConflictError: the last version of a stream is not the one before. LateAppendError: this transaction is older than
    the stream's last event. After either, PostgreSQL has aborted the transaction: roll back and begin anew.
    """
    if not events:
        return []
    try:
        return insert(connection, events)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "events_pkey":
            raise
        raise ConflictError(f"Another append was first. {error.diag.message_detail}") from error
    except psycopg.Error as error:
        if error.sqlstate == VERSION_MISSING:
            raise ConflictError(f"An event is missing: {error.diag.message_primary}.") from error
        if error.sqlstate == LATE_APPEND:
            raise LateAppendError(f"{error.diag.message_primary}. Repeat it in a new transaction.") from error
        raise


def insert(connection: Connection[Any], events: Sequence[StoredEvent]) -> list[int]:
    """As `append`, with the errors of psycopg."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        # Prepared from the first time on: the statement never changes, however many events there are.
        cursor.execute(_APPEND, _columns(events), prepare=True, binary=True)
        positions: list[int] | None = cursor.fetchone()
    assert positions is not None
    return positions


def was_recorded(connection: Connection[Any], events: Sequence[StoredEvent]) -> list[int] | None:
    """The positions of `events` if an earlier commit of this very append succeeded, else None.

    Ask in a new transaction, after an append of the same events met a conflict: before that, the earlier transaction
    may still be on its way. Ids are inside the compared bytes, so an equal event of somebody else is not ours.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_POSITIONS, _columns(events), binary=True)
        positions = [position for (position,) in cursor.fetchall()]
    return positions if None not in positions else None


def _columns(events: Sequence[StoredEvent]) -> tuple[list[Any], ...]:
    return (
        [event.originator_id for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )
