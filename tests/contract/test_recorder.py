"""The event library's own suites of tests, against our recorders and a real server.

The library's suites expect an application recorder to number its events 1, 2, 3. Ours gives positions instead, which
rise and have gaps. Where a suite depends on the numbers it is restated, once, by `Ranked`: the same recorder with each
position replaced by its rank, so that every line of the original test still runs against ours. Those tests are named
`..._restated_as_ranks`.
"""

import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
from eventsourcing.persistence import Notification, StoredEvent

from haulage.infra.postgres.database import Database
from haulage.infra.postgres.recorder import CheckpointRecorder, LogRecorder
from haulage.infra.postgres.snapshots import SnapshotRecorder

# The suites also test the library's ciphers, and import them; these need a cryptography package that nothing here uses.
_ciphers = ModuleType("eventsourcing.cipher")
_ciphers.__dict__["AESCipher"] = object
sys.modules.setdefault("eventsourcing.cipher", _ciphers)

from eventsourcing.tests import persistence as library  # noqa: E402 - after the stand-in above


class OnOurDatabase:
    """Gives a suite of the library the database of our fixtures."""

    database: Database

    @pytest.fixture(autouse=True)
    def _database(self, database_url: str) -> Iterator[None]:
        with Database(database_url, size=16, application_name="test") as self.database:
            yield


class VisibleRecorder(LogRecorder):
    """Waits until what it has appended is below the horizon: the server's own upkeep may hold it for a moment."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        positions = super().insert_events(stored_events, **kwargs)
        deadline = time.monotonic() + 10
        while positions and (LogRecorder.max_notification_id(self) or 0) < positions[-1]:
            assert time.monotonic() < deadline, "an appended event stays above the horizon"
        return positions


class Ranked(VisibleRecorder):
    """Positions as ranks: 1 for the first event of the log, 2 for the next."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        positions = super().insert_events(stored_events, **kwargs)
        assert positions == sorted(positions or [])
        return [self._rank(position) for position in positions or []] or None

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        found = super().select_notifications(
            self._position(start), limit, self._position(stop), topics, inclusive_of_start=inclusive_of_start
        )
        return [Notification(n.originator_id, n.originator_version, n.topic, n.state, self._rank(n.id)) for n in found]

    def max_notification_id(self) -> int | None:
        last = super().max_notification_id()
        return last and self._rank(last)

    def _positions(self) -> list[int]:
        return [notification.id for notification in super().select_notifications(None, 1000)]

    def _rank(self, position: int) -> int:
        return bisect_left(self._positions(), position) + 1

    def _position(self, rank: int | None) -> int | None:
        return rank and self._positions()[rank - 1]


class TestSnapshots(OnOurDatabase, library.AggregateRecorderTestCase):
    def create_recorder(self) -> SnapshotRecorder:
        return SnapshotRecorder(self.database)


class WithoutPositions(LogRecorder):
    """As an aggregate recorder, which answers an insert with nothing."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        super().insert_events(stored_events, **kwargs)


class TestLogAsAggregateRecorder(OnOurDatabase, library.AggregateRecorderTestCase):
    def create_recorder(self) -> LogRecorder:
        return WithoutPositions(self.database.datastore)


class TestLog(OnOurDatabase, library.ApplicationRecorderTestCase[LogRecorder]):
    EXPECT_CONTIGUOUS_NOTIFICATION_IDS = False

    def create_recorder(self) -> LogRecorder:
        return VisibleRecorder(self.database.datastore)

    # Expects the ids 1, 2, 3: below.
    test_insert_select = None

    def test_insert_subscribe(self) -> None:
        super().optional_test_insert_subscribe()


class TestLogRestated(OnOurDatabase, library.ApplicationRecorderTestCase[LogRecorder]):
    def create_recorder(self) -> LogRecorder:
        return Ranked(self.database.datastore)

    def test_insert_select_restated_as_ranks(self) -> None:
        super().test_insert_select()

    # Do not look at the ids, and run in TestLog.
    test_insert_select = None
    test_performance = None
    test_concurrent_no_conflicts = None
    test_concurrent_throughput = None


class TestLogKeepsTransactionsTogether(OnOurDatabase, library.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> LogRecorder:
        return VisibleRecorder(self.database.datastore)


class TestCheckpoints(OnOurDatabase, library.TrackingRecorderTestCase):
    def create_recorder(self) -> CheckpointRecorder:
        return CheckpointRecorder(self.database.datastore)
