"""An event for tests of the log, and short ways to append it and read it back."""

from typing import Any, ClassVar
from uuid import UUID, uuid4

from psycopg import Connection

from haulage.domain.event import Context, Event, NewEvents, topics
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.log import PostgresLog
from haulage.infra.postgres.mapper import EventMapper

CONTEXT = Context(uuid4(), "default", "import-users", "alice")


class Noted(Event):
    topic: ClassVar[str] = "test.noted.v1"

    text: str = ""


LOG = PostgresLog(EventMapper(topics([Noted])))


def noted(stream: UUID, after: int, *texts: str) -> NewEvents:
    """An event per text, the first of them with version `after + 1`."""
    return NewEvents(stream, after, tuple(Noted(text=text) for text in texts), CONTEXT)


def append(connection: Connection[Any], *new: NewEvents) -> list[int]:
    """Append in the open transaction."""
    return LOG.append(connection, LOG.prepare(new))


def append_alone(database: Database, *new: NewEvents) -> list[int]:
    """Append in a transaction of its own."""
    with database.transaction() as connection:
        return append(connection, *new)


def texts(database: Database, stream: UUID) -> list[str]:
    """What the events of a stream say, in order."""
    with database.connection() as connection:
        return [event.text for r in LOG.stream(connection, stream) if isinstance(event := r.event, Noted)]
