"""Following and naming operations, on a real database without anybody at work."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from haulage.domain.errors import NotFoundError, NotReachableError
from haulage.domain.event import Context, NewEvents
from haulage.domain.operation import OperationFailed, OperationRequested
from haulage.domain.ports import Request
from haulage.domain.status import Status
from haulage.infra.bootstrap import Parts, parts
from haulage.infra.cli import follow as following
from haulage.infra.cli.bar import PlainBar
from haulage.infra.cli.failures import TimeOutError, UsageError
from haulage.infra.cli.follow import follow
from haulage.infra.cli.names import resolve
from haulage.infra.servers import ServerUrls

ONE = UUID("4f2a91c0-0000-7000-8000-000000000001")
TWO = UUID("4f2a91c0-0000-7000-8000-000000000002")


@pytest.fixture
def opened(database_url: str) -> Iterator[Parts]:
    with parts(ServerUrls(None, database_url, "nats://127.0.0.1:1"), application_name="test") as made:
        yield made


def request(opened: Parts, operation: UUID) -> None:
    """Ask for an operation that nobody will carry out."""
    asked = Request(operation, "default", "import-users", 1, "ann", {}, None, None, b"salt")
    event = OperationRequested(definition_version=1, parameters_digest="d")
    with opened.store.begin() as unit:
        unit.add_requests([asked])
        unit.append([NewEvents(operation, 0, (event,), Context(operation, "default", "import-users", "ann"))])


def test_an_ended_operation_is_not_waited_for_although_its_view_stands_still(
    opened: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "DOUBT_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(following, "VIEWS_WITHIN_SECONDS", 0.0)
    request(opened, ONE)
    with opened.store.begin() as unit:
        failed = OperationFailed(code="input", message="The input is empty.")
        unit.append([NewEvents(ONE, 1, (failed,), Context(ONE, "default", "import-users", "haulage"))])
    assert follow(opened, [ONE], PlainBar())[ONE].status is Status.FAILED


def test_a_time_out_names_the_operation(opened: Parts) -> None:
    request(opened, ONE)
    with pytest.raises(TimeOutError, match=str(ONE)):
        follow(opened, [ONE], PlainBar(), time_out=0.0)


def test_a_database_that_stays_away_is_not_waited_for_without_end() -> None:
    away = ServerUrls(None, "postgresql://haulage@127.0.0.1:1/haulage", "nats://127.0.0.1:1")
    with parts(away, application_name="test") as made:
        made.database.close()
        with pytest.raises(NotReachableError, match="goes on when it is back"):
            follow(made, [ONE], PlainBar(), patience=0.0)


def test_operations_are_found_by_id_by_its_beginning_and_as_the_last(opened: Parts) -> None:
    request(opened, ONE)
    request(opened, TWO)
    with opened.database.connection() as connection:
        assert resolve(connection, str(ONE)) == ONE
        assert resolve(connection, str(TWO).upper().replace("-", "")) == TWO
        assert resolve(connection, "last") == TWO
        with pytest.raises(UsageError, match="More than one"):
            resolve(connection, "4f2a91")
        with pytest.raises(NotFoundError):
            resolve(connection, "4f2a92")
