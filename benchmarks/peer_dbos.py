"""The peer: the same import done with DBOS, in its own environment; prints one JSON object.

    python peer_dbos.py SYSTEM_URL APPLICATION_URL CSV ORGANIZATION_ID CHUNK_ITEMS ITEM_ROWS

A workflow imports the whole file with a durable step per chunk; another one the first ITEM_ROWS rows with a durable
step per item. Rows go into the same tables by the same COPY. Times are from starting the workflow to its end.
"""

import csv
import json
import sys
import time
import uuid
from itertools import islice

import psycopg
from dbos import DBOS, DBOSConfig

SYSTEM, APPLICATION, PATH, ORGANIZATION, CHUNK_ITEMS, ITEM_ROWS = sys.argv[1:]
USERS = "copy directory.users (id, email, name, external_id, locale, department) from stdin"
MEMBERSHIPS = "copy directory.memberships (user_id, organization_id, role) from stdin"

DBOS(config=DBOSConfig(name="peer", system_database_url=SYSTEM, log_level="ERROR"))
connection = psycopg.connect(APPLICATION, autocommit=True)


@DBOS.step()
def apply(first: int, rows: list[list[str]], base: int) -> int:
    """One durable step: these rows, in one transaction."""
    ids = [uuid.UUID(int=base + first + place) for place in range(len(rows))]
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(USERS) as copy:
            for id_, (email, name, _, external_id, locale, department) in zip(ids, rows, strict=True):
                copy.write_row((id_, email, name, external_id or None, locale or None, department or None))
        with cursor.copy(MEMBERSHIPS) as copy:
            for id_, row in zip(ids, rows, strict=True):
                copy.write_row((id_, ORGANIZATION, row[2]))
    return len(rows)


@DBOS.workflow()
def import_chunks(path: str, chunk_items: int, limit: int, base: int) -> int:
    """A durable step for every `chunk_items` rows."""
    done = 0
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        rows = islice(rows, limit) if limit else rows
        while chunk := list(islice(rows, chunk_items)):
            done += apply(done, chunk, base)
    return done


def timed(chunk_items: int, limit: int) -> dict[str, float]:
    """Run one import, and take its rows out again; rows and seconds."""
    base = uuid.uuid4().int >> 64 << 64
    began = time.perf_counter()
    rows = DBOS.start_workflow(import_chunks, PATH, chunk_items, limit, base).get_result()
    seconds = time.perf_counter() - began
    connection.execute("truncate directory.users, directory.memberships")
    return {"rows": rows, "seconds": seconds}


DBOS.launch()
chunks = timed(int(CHUNK_ITEMS), 0)
items = timed(1, int(ITEM_ROWS))
DBOS.destroy()
print(json.dumps({"chunk": chunks, "item": items}))
