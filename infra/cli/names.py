"""Which operation is meant: a whole id, the beginning of one, or `last`."""

import re
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.infra.cli.failures import UsageError

MIN_PREFIX = 6
_PREFIX = re.compile(r"[0-9a-f]+")


def resolve(connection: Connection[Any], name: str) -> UUID:
    """The operation called `name`. NotFoundError where there is none, UsageError where there are several or it is odd.

    `last` is the one requested last, whoever asked for it.
    """
    if name == "last":
        return _last(connection)
    digits = name.lower().replace("-", "")
    if not _PREFIX.fullmatch(digits) or len(digits) > 32:
        raise UsageError(f"`{name}` is no operation: give its id, the beginning of its id, or `last`.")
    if len(digits) < MIN_PREFIX:
        raise UsageError(f"`{name}` is too short for an operation: give at least {MIN_PREFIX} characters of its id.")
    found = [
        row[0]
        for row in connection.execute(
            "select operation from haulage.operations where operation between %s and %s limit 2", bounds(digits)
        )
    ]
    if not found:
        raise NotFoundError(f"There is no operation `{name}`. `haulage list` shows those there are.")
    if len(found) > 1:
        raise UsageError(f"More than one operation begins with `{name}`. Give more of its id.")
    return UUID(str(found[0]))


def bounds(digits: str) -> tuple[UUID, UUID]:
    """The first and the last id that begin with `digits`: a range, so that the primary key finds it."""
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _last(connection: Connection[Any]) -> UUID:
    row = connection.execute(
        "select operation from haulage.operations order by requested_at desc, operation desc limit 1"
    ).fetchone()
    if row is None:
        raise NotFoundError("There is no operation yet. `haulage demo` makes one.")
    return UUID(str(row[0]))
