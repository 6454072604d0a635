"""The worker: claims work and carries it out, one piece at a time.

Crash story. What is claimed is in the table, not only here.
1. Died: its session is found dead and the claims are given back.
2. The database went away: the claims stay in hand, and are tried again when it is back; those that went to somebody
   else meanwhile raise `FencedError` and are dropped.
3. Stopped cleanly: the piece in hand is finished, the others are given back with the session's end.
"""

from collections import deque
from collections.abc import Callable, Sequence

import structlog

from haulage.domain.errors import FencedError
from haulage.domain.ports import Waker
from haulage.domain.work import Claim, Task
from haulage.infra.postgres import work
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.sessions import Session

CLAIM_LIMIT = 2
"""Pieces claimed at once: enough that the next is at hand, few enough that none waits for us while others idle."""

_log = structlog.get_logger("haulage.worker")

Handlers = dict[Task, Callable[[Claim], None]]


class Worker:
    """`run_once` claims what it may and carries it out."""

    def __init__(
        self,
        database: Database,
        session: Session,
        definitions: Sequence[str],
        handlers: Handlers,
        waker: Waker,
        stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._session = session
        self._definitions = definitions
        self._handlers = handlers
        self._waker = waker
        self._stopping = stopping
        self._claims: deque[Claim] = deque()

    def run_once(self) -> int:
        """How many pieces of work were carried out."""
        if not self._claims:
            with self._database.connection() as connection:
                self._claims.extend(work.claim(connection, self._session.id, self._definitions, CLAIM_LIMIT))
        done = 0
        while self._claims and not self._stopping():
            self._carry_out(self._claims[0])
            self._claims.popleft()
            done += 1
        return done

    def _carry_out(self, claim: Claim) -> None:
        try:
            self._handlers[claim.work.task](claim)
        except FencedError as error:
            _log.warning("claim lost", claim=claim.id, operation=str(claim.work.operation), why=str(error))
        else:
            self._waker.wake("log")
