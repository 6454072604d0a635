"""Checkpoints: the last position that each subscription has completed.

Crash story. A checkpoint moves in the transaction of the effects of what was read, so after a crash the subscription
goes on where its effects end. Two processes that read the same events both try to move it from the same place: the
second waits for the first one's row, finds it moved, and drops what it was about to do.
"""

from typing import Any

from psycopg import Connection
from psycopg.rows import scalar_row


def read(connection: Connection[Any], name: str) -> int:
    """The last position the subscription `name` has completed; 0 for one that has not begun."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(
            "select notification_id from haulage.checkpoints where application_name = %s", (name,), prepare=True
        )
        return cursor.fetchone() or 0


def advance(connection: Connection[Any], name: str, before: int, after: int) -> bool:
    """Move the checkpoint in the open transaction, if it still is at `before`; False where somebody else moved it.

    False means that the caller's effects are somebody else's already: leave the transaction without committing.
    """
    statement = _BEGIN if before == 0 else _ADVANCE
    cursor = connection.execute(statement, {"name": name, "before": before, "after": after}, prepare=True)
    return cursor.rowcount == 1


def reset(connection: Connection[Any], name: str) -> None:
    """Put the checkpoint before the first event, and keep others from moving it until the transaction ends."""
    connection.execute(_RESET, {"name": name})


_ADVANCE = """
update haulage.checkpoints set notification_id = %(after)s
where application_name = %(name)s and notification_id = %(before)s
"""

# A subscription that has not begun has no row yet, or one that was reset.
_BEGIN = """
insert into haulage.checkpoints as c (application_name, notification_id) values (%(name)s, %(after)s)
on conflict (application_name) do update set notification_id = excluded.notification_id
where c.notification_id = %(before)s
"""

_RESET = """
insert into haulage.checkpoints (application_name, notification_id) values (%(name)s, 0)
on conflict (application_name) do update set notification_id = 0
"""
