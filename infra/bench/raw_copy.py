"""The yardstick: a script that reads the file and COPYs it into the directory's tables in one go.

It has no durability between start and end, no validation, no answer for any item and no way back.
"""

import csv
import time
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

USERS = "copy directory.users (id, email, name, external_id, locale, department) from stdin"
MEMBERSHIPS = "copy directory.memberships (user_id, organization_id, role) from stdin"


def copy_users(url: str, path: Path, organization: UUID, *, memberships: bool = True) -> float:
    """Copy the users of a CSV file, and with `memberships` who belongs to the organization; the seconds it took."""
    began = time.perf_counter()
    ids: list[tuple[UUID, str]] = []
    # Ascending ids, as ours are: random ones would make the index, not the COPY, the thing measured.
    base = uuid4().int >> 64 << 64
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        with cursor.copy(USERS) as copy, path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            for number, (email, name, role, external_id, locale, department) in enumerate(rows, 1):
                id_ = UUID(int=base + number)
                ids.append((id_, role))
                copy.write_row((id_, email, name, external_id or None, locale or None, department or None))
        if memberships:
            with cursor.copy(MEMBERSHIPS) as copy:
                for id_, role in ids:
                    copy.write_row((id_, organization, role))
    return time.perf_counter() - began
