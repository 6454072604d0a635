"""The progress feed: sees which operations' progress has changed in the view, and hands it to the publisher."""

from collections.abc import Iterable

from haulage.domain.status import ENDS, Status
from haulage.infra.nats.progress import ProgressPublisher
from haulage.infra.postgres import checkpoints, views
from haulage.infra.postgres.database import Database
from haulage.projections.progress import NAME, Progress

UNFINISHED = frozenset(Status) - ENDS
UNFINISHED_LIMIT = 10_000
ENDED_LIMIT = 500
"""How many of the latest operations a bucket that lost its content gets back, whether they have ended or not."""


class ProgressFeed:
    """`run_once` publishes what has changed. Where it is lost in between, the next change or connection mends it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._position: int | None = None

    def recent(self) -> Iterable[Progress]:
        """The unfinished operations and the latest ones: what a reader of the bucket expects to find."""
        with self._database.connection() as connection:
            unfinished = views.operations(connection, views.Filters(statuses=UNFINISHED), limit=UNFINISHED_LIMIT)
            latest = views.operations(connection, limit=ENDED_LIMIT)
        return [*unfinished, *latest]

    def run_once(self, publisher: ProgressPublisher) -> int:
        """Offer what has changed since the last call, and publish what is due; how much that was."""
        with self._database.connection() as connection:
            if self._position is None:
                self._position = checkpoints.read(connection, NAME)
            changed = views.changed_since(connection, self._position)
        publisher.offer(changed)
        if changed:
            self._position = changed[-1].position
        return publisher.run_once()
