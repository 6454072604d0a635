"""The composition root: puts the parts of a process together. Nothing else in Haulage makes its own parts."""

from dataclasses import dataclass
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from haulage.domain.events import EVENTS
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.directory import PostgresDirectory
from haulage.infra.postgres.history import settle_history
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.manifest import PostgresManifest
from haulage.infra.postgres.mapper import EventMapper
from haulage.infra.postgres.migrate import migrate
from haulage.infra.postgres.store import PostgresStore
from haulage.infra.servers import ServerUrls
from haulage.sagas.catalogue import CATALOGUE
from haulage.sagas.definition import Definitions

PARTICIPANTS = {"directory": PostgresDirectory}
"""Participants that live in Haulage's own database, by the name actions call them by."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What every process has. A context manager; leaving it closes the database's connections."""

    database: Database
    log: PostgresLog
    manifest: PostgresManifest
    store: PostgresStore
    definitions: Definitions

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()


def parts(
    urls: ServerUrls, *, application_name: str, connections: int = 4, statement_seconds: float | None = None
) -> Parts:
    """The parts of one process, on the servers of `urls`. Connects to nothing yet.

    The server gives up a statement after `statement_seconds`: a chunk that takes longer is split, since an open
    transaction that has written holds every follower of the log back.
    """
    url = urls.postgres_app if statement_seconds is None else _with_time_out(urls.postgres_app, statement_seconds)
    database = Database(url, size=connections, application_name=application_name)
    log = PostgresLog(EventMapper(EVENTS))
    manifest = PostgresManifest()
    store = PostgresStore(database, log, manifest, PARTICIPANTS)
    return Parts(database, log, manifest, store, Definitions(CATALOGUE))


def _with_time_out(url: str, seconds: float) -> str:
    given = conninfo_to_dict(url).get("options")
    return make_conninfo(url, options=f"{given or ''} -c statement_timeout={int(seconds * 1000)}".strip())


def prepare(urls: ServerUrls) -> None:
    """Bring the database up to date: migrations where we may make them, positions above all handed out before.

    A repeat does nothing. Raises `MigrationError` where the schema and this version don't go together.
    """
    if urls.postgres_admin is not None:
        migrate(urls.postgres_admin, urls.postgres_app)
    with Database(urls.postgres_app, size=1) as database, database.connection() as connection:
        settle_history(connection)
