"""The errors of PostgreSQL as the engine meets them: which of them are nobody's fault."""

import psycopg
import pytest

from haulage.domain.errors import NoRoomError, NotReachableError
from haulage.infra.postgres.errors import NotSettledError, PoolExhaustedError, translated
from haulage.sagas.executor import NOT_THE_CHUNKS_FAULT


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (psycopg.errors.DiskFull("no space left on device"), NoRoomError),
        (psycopg.errors.AdminShutdown("terminating connection"), NotReachableError),
        (psycopg.errors.TooManyConnections("too many clients"), NotReachableError),
        (psycopg.OperationalError("server closed the connection"), NotReachableError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_database_that_is_away_or_full_costs_no_attempt(error: psycopg.Error, ours: type[Exception]) -> None:
    met = translated(error, "haulage at localhost")

    assert isinstance(met, ours)
    assert isinstance(met, NOT_THE_CHUNKS_FAULT)


@pytest.mark.parametrize("error", [PoolExhaustedError("none free"), NotSettledError("restored")], ids=lambda e: e.code)
def test_a_full_pool_and_an_unsettled_history_cost_no_attempt(error: Exception) -> None:
    assert isinstance(error, NOT_THE_CHUNKS_FAULT)
