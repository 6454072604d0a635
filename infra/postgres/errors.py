"""The errors of the database's adapters, and how psycopg's become ours.

Only what a caller can act on is translated: a database that is away, busy or full. Everything else (a violated
constraint, bad data, a bug) reaches the caller as psycopg raised it.
"""

import psycopg
from psycopg_pool import PoolClosed

from haulage.domain.errors import HaulageError, NoRoomError, NotNowError, NotReachableError


class OutcomeUnknownError(NotReachableError):
    """The connection broke during COMMIT: the transaction was done or was not; ask by event id."""


class TransactionAbortedError(HaulageError):
    """The block of a transaction swallowed an error that had aborted it. A mistake in the code: let such errors out."""

    code = "transaction_aborted"


class BusyError(HaulageError):
    """A time-out, a deadlock or a serialization failure: repeat the whole transaction."""

    code = "busy"


class PoolExhaustedError(BusyError, NotNowError):
    """Every connection of this process was in use for as long as we were ready to wait."""


class DiskFullError(NoRoomError):
    """The database's disk is full: free some space, then repeat."""

    code = "disk_full"


class NotSettledError(NotNowError):
    """The database was restored or failed over; positions are unsafe until `settle_history` has been called."""

    code = "not_settled"


class MigrationError(HaulageError):
    """The schema in the database and the migrations of this version do not go together."""

    code = "migration"


def place(connection: psycopg.Connection[object]) -> str:
    """Where `connection` leads, for an error's sentence; never with the password."""
    info = connection.info
    return f"{info.dbname} at {info.host or 'a local socket'}:{info.port}"


def translated(error: psycopg.Error, where: str) -> Exception:
    """`error` as one of ours where a caller can act on it, else itself. `where` names the database."""
    state = error.sqlstate or ""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state == "55L01":
        return NotSettledError(
            f"The database {where} was restored or failed over since Haulage last used it. Start Haulage anew: "
            "it then makes sure that new events come after all that were published."
        )
    if state in ("53100", "58030"):
        return DiskFullError(f"The database {where} cannot write ({said}). Free space on its disk and repeat.")
    if state[:2] == "40" or state in ("55P03", "57014", "25P03", "25P04"):
        return BusyError(f"The database {where} gave the transaction up ({said}). It can be repeated.")
    # A closed pool is a mistake of ours, which repeating would not mend.
    silent = not state and isinstance(error, psycopg.OperationalError) and not isinstance(error, PoolClosed)
    if state[:2] in ("08", "53", "57") or silent:
        return NotReachableError(f"The database {where} is not reachable: {said}. Check that it runs, and the URL.")
    return error
