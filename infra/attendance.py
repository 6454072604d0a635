"""Attendance: this process's sign of life, and the watch over the others'."""

import time

import structlog

from haulage.domain.ports import Waker
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.sessions import Session, reap

_log = structlog.get_logger("haulage.attendance")


class Attendance:
    """`run_once` renews the lease where a third of it has passed, and gives back what dead sessions had claimed."""

    def __init__(self, session: Session, database: Database, waker: Waker, lease_seconds: float) -> None:
        self._session = session
        self._database = database
        self._waker = waker
        self._every_seconds = lease_seconds / 3
        self._renew_at = 0.0

    def run_once(self) -> int:
        """Always 0: the next look comes with the next poll."""
        if self._session.broken or time.monotonic() >= self._renew_at:
            if not self._session.keep():
                _log.info("session begun", session=str(self._session.id))
            self._renew_at = time.monotonic() + self._every_seconds
        with self._database.connection() as connection:
            given_back = reap(connection)
        if given_back:
            _log.warning("claims of a dead session given back", claims=given_back)
            self._waker.wake("work")
        return 0
