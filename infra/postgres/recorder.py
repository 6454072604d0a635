"""The event library's application and tracking recorders on our tables.

The library's own application recorder locks the whole table for each append, so that ids follow the order of commits
and no follower passes over a gap. Ours keeps that promise without the lock; migrations/0001_log.sql tells how. Nor
does it use NOTIFY, which takes a lock of the whole server at commit: followers poll, and are woken within the process.
"""

import time
from collections.abc import Sequence
from threading import Lock
from typing import Any
from weakref import WeakSet

from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.utils import retry
from psycopg.rows import tuple_row
from psycopg.sql import SQL

from haulage.infra.postgres.append import insert, was_recorded

POLL_SECONDS = 0.1
"""How soon a subscription sees what another process appended, and what the horizon held back when it was woken."""

_ATTEMPTS = 10
_PAUSE_SECONDS = 0.2

_SELECT = """
select notification_id, originator_id, originator_version, topic, state from haulage.events
where notification_id between %(first)s and %(last)s and notification_id < haulage.horizon()
    and (%(topics)s::text[] is null or topic = any(%(topics)s::text[]))
order by notification_id limit %(limit)s
"""


class LogRecorder(PostgresApplicationRecorder):
    """Notification ids are positions: they rise, with gaps, and pass 2^53."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name="events")
        self.select_events_statement = SQL(
            "select originator_id, originator_version, topic, state from haulage.events where originator_id = %s"
        ).format()
        self.max_notification_id_statement = SQL(
            "select max(notification_id) from haulage.events where notification_id < haulage.horizon()"
        ).format()
        self._subscriptions: WeakSet[LogSubscription] = WeakSet()
        self._subscribing = Lock()

    def create_table(self) -> None:
        """Does nothing: tables come from migrations."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append in a transaction of its own; the positions, or None without events.

        Raises the library's IntegrityError when a version is taken or the one before it is missing. Tries again when
        the connection breaks: if the lost attempt turns out to have succeeded, its positions are the answer.
        """
        if not stored_events:
            return None
        answer_lost = False
        for remaining in reversed(range(_ATTEMPTS)):
            try:
                with self.datastore.get_connection() as connection:
                    positions = insert(connection, stored_events)
                break
            except (InterfaceError, OperationalError):
                if not remaining:
                    raise
                answer_lost = True
                time.sleep(_PAUSE_SECONDS)
            except IntegrityError:
                earlier = self._recorded_before(stored_events) if answer_lost else None
                if earlier is None:
                    raise
                positions = earlier
                break
        self.wake()
        return positions

    def _recorded_before(self, stored_events: Sequence[StoredEvent]) -> list[int] | None:
        with self.datastore.get_connection() as connection:
            return was_recorded(connection, stored_events)

    @retry((InterfaceError, OperationalError), max_attempts=_ATTEMPTS, wait=_PAUSE_SECONDS)
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events from `start` to `stop`, in order, as far as nothing can appear between or below them any more."""
        bounds = {
            "first": 0 if start is None else start if inclusive_of_start else start + 1,
            "last": 2**63 - 1 if stop is None else stop,
            "topics": list(topics) or None,
            "limit": limit,
        }
        with self.datastore.get_connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(_SELECT, bounds, prepare=True, binary=True)
            return [
                Notification(originator_id=stream, originator_version=version, topic=topic, state=state, id=position)
                for position, stream, version, topic, state in cursor
            ]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LogSubscription":
        """Notifications after `gt`, those recorded already and then new ones for ever."""
        subscription = LogSubscription(self, gt=gt, topics=topics)
        with self._subscribing:
            self._subscriptions.add(subscription)
        return subscription

    def wake(self) -> None:
        """Tell this process's subscriptions to look now: something was committed. Losing a call costs one poll."""
        with self._subscribing:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.wake()


class LogSubscription(ListenNotifySubscription[LogRecorder]):
    """Pulls in a thread of its own, when woken and at least every POLL_SECONDS."""

    def wake(self) -> None:
        """Look now."""
        self._has_been_notified.set()

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                self._pull()
                self._has_been_notified.wait(POLL_SECONDS)
        except BaseException as error:  # noqa: BLE001 - handed to the iterating thread, which raises it
            self._thread_error = self._thread_error or error
            self.stop()


class CheckpointRecorder(PostgresTrackingRecorder):
    """Tracking on haulage.checkpoints, where the engine's own followers keep theirs (`checkpoints.py`)."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, tracking_table_name="checkpoints")

    def create_table(self) -> None:
        """Does nothing: tables come from migrations."""
