"""Snapshots: the folded state of a long stream, so that it need not be folded from its beginning.

They are a cache. Each has the topic of its state, such as `operation.state.v1`; when the state's fields change, so
does the topic, and what was saved under the old one is no longer found. The newest one per stream is kept.
"""

from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import IntegrityError, InterfaceError, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresAggregateRecorder
from pydantic import BaseModel, ValidationError

from haulage.domain.errors import NotReachableError
from haulage.infra.postgres.database import Database

State = TypeVar("State", bound=BaseModel)


class SnapshotRecorder(PostgresAggregateRecorder):
    """The library's aggregate recorder on haulage.snapshots."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.datastore, events_table_name="snapshots")

    def create_table(self) -> None:
        """Does nothing: tables come from migrations."""

    def replace(self, snapshot: StoredEvent) -> None:
        """Store `snapshot` in place of those of its stream that are no newer."""
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "delete from haulage.snapshots where originator_id = %s and originator_version <= %s",
                (snapshot.originator_id, snapshot.originator_version),
            )
            self._insert_stored_events(cursor, [snapshot])


class Snapshots:
    """Saves and loads states. In transactions of its own: a snapshot of what is not committed would be a lie."""

    def __init__(self, database: Database) -> None:
        self._recorder = SnapshotRecorder(database)

    def save(self, stream: UUID, version: int, topic: str, state: BaseModel) -> None:
        """Keep `state`, the fold of the committed events up to `version`; a repeat changes nothing."""
        snapshot = StoredEvent(stream, version, topic, state.model_dump_json().encode())
        try:
            self._recorder.replace(snapshot)
        except IntegrityError:
            # Another process saved the same version at the same moment.
            return
        except (InterfaceError, OperationalError) as error:
            raise NotReachableError(f"A snapshot was not saved: {error}") from error

    def load(self, stream: UUID, topic: str, state: type[State]) -> tuple[int, State] | None:
        """The newest snapshot's version and state; None without one of that topic, or where it cannot be read."""
        try:
            newest = self._recorder.select_events(stream, desc=True, limit=1)
        except (InterfaceError, OperationalError) as error:
            raise NotReachableError(f"A snapshot was not loaded: {error}") from error
        if not newest or newest[0].topic != topic:
            return None
        try:
            return newest[0].originator_version, state.model_validate_json(newest[0].state)
        except ValidationError:
            return None
