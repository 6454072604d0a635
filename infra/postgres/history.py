"""Where the history of a database lives, and what happens when it is found elsewhere.

A restored dump, a backup recovered to an earlier point and a promoted standby all go on with a history whose end may
be missing, while followers outside the database have seen it. Appends are refused there until `settle_history` has put
new positions above all that can have been seen and begun a new epoch, by which those followers know.
"""

from typing import Any

from psycopg import Connection


def settle_history(connection: Connection[Any], above: int | None = None) -> bool:
    """Make sure that new positions are above all that were handed out; whether a new epoch had to begin.

    To be called at every start, and again when NotSettledError is met. `above` is the last position published on the
    bus, if known. A repeat does nothing. Waits for the transactions that have appended, so not within one of them.
    """
    row = connection.execute("select haulage.settle(%s)", (above,)).fetchone()
    assert row is not None
    return bool(row[0])


def epoch(connection: Connection[Any]) -> int:
    """The history's epoch: the same for as long as no position can have been handed out twice."""
    row = connection.execute("select epoch from haulage.history").fetchone()
    assert row is not None
    return int(row[0])
