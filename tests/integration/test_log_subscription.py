"""Subscriptions: new events arrive without NOTIFY, woken within the process and polled from others."""

from collections.abc import Iterator
from threading import Timer
from uuid import uuid4

import pytest
from eventsourcing.persistence import OperationalError
from log_samples import LOG, append, append_alone, noted

from haulage.infra.postgres import recorder as module
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.recorder import LogRecorder

FAR_TOO_LATE_SECONDS = 30


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=4) as database:
        yield database


@pytest.fixture
def recorder(db: Database) -> LogRecorder:
    return LogRecorder(db.datastore)


def next_position(subscription: module.LogSubscription) -> int | None:
    """The next event's position, or None when it takes far too long."""
    late = Timer(FAR_TOO_LATE_SECONDS, subscription.stop)
    late.start()
    try:
        return next((notification.id for notification in subscription), None)
    finally:
        late.cancel()


def test_an_append_of_the_same_process_wakes_its_subscriptions(
    recorder: LogRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 10 * FAR_TOO_LATE_SECONDS)
    with recorder.subscribe() as subscription:
        for _ in range(5):
            positions = recorder.insert_events(LOG.prepare([noted(uuid4(), 0, "one")]).events)
            # The server's own upkeep may hold the horizon for a moment; then nothing but another wake-up tells.
            again = Timer(0.2, recorder.wake)
            again.start()
            assert [next_position(subscription)] == positions
            again.cancel()


def test_an_append_of_another_process_is_found_by_polling(db: Database, recorder: LogRecorder) -> None:
    with recorder.subscribe() as subscription:
        for _ in range(3):
            positions = append_alone(db, noted(uuid4(), 0, "one"))
            assert [next_position(subscription)] == positions


def test_what_the_horizon_held_back_arrives_in_order_once_it_is_free(db: Database, recorder: LogRecorder) -> None:
    with recorder.subscribe() as subscription:
        with db.transaction() as open_writer:
            lower = append(open_writer, noted(uuid4(), 0, "lower"))
            higher = recorder.insert_events(LOG.prepare([noted(uuid4(), 0, "higher")]).events)

        assert [next_position(subscription), next_position(subscription)] == [*lower, *(higher or [])]


def test_a_subscription_begins_after_the_position_it_was_given(db: Database, recorder: LogRecorder) -> None:
    first, second, third = append_alone(db, noted(uuid4(), 0, "a", "b", "c"))

    with recorder.subscribe(gt=first) as subscription:
        assert [next_position(subscription), next_position(subscription)] == [second, third]


def test_a_failing_database_ends_the_iteration_with_the_error(db: Database, recorder: LogRecorder) -> None:
    with recorder.subscribe() as subscription:
        db.close()

        with pytest.raises(OperationalError, match="closed"):
            next_position(subscription)
