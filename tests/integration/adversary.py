"""Writers that do their worst, and a follower that is checked.

Each writer, again and again: opens a transaction and, half of the time, writes at once, which fixes its place in the
order of positions; waits for a random time; reads where a stream ends; now and then appends in a savepoint and rolls
that back; appends one to three events to the stream, perhaps one to another; waits again; commits, mostly.
The follower reads small pieces all the while and goes on after the last position it got, as every follower does.
"""

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
from log_samples import LOG, append, noted
from psycopg import Connection

from haulage.domain.errors import ConflictError, LateAppendError
from haulage.domain.event import Recorded
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.errors import BusyError

LONGEST_PAUSE_SECONDS = 0.02


@dataclass
class Followed:
    """What a follower saw, in the order in which it saw it."""

    events: list[Recorded] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Where it goes on."""
        return self.events[-1].position if self.events else 0

    def out_of_order(self) -> list[Recorded]:
        """Events whose version does not follow the one seen before in their stream."""
        seen: dict[UUID, int] = defaultdict(int)
        wrong = []
        for recorded in self.events:
            if recorded.version != seen[recorded.stream] + 1:
                wrong.append(recorded)
            seen[recorded.stream] = max(seen[recorded.stream], recorded.version)
        return wrong


@dataclass
class Outcome:
    """How it went: attempts by how they ended, what was seen, and how many events were stored."""

    attempts: Counter[str]
    followed: Followed
    stored: int

    @property
    def skipped(self) -> int:
        """Events that the follower never got."""
        return self.stored - len(self.followed.events)


def contend(url: str, *, seconds: float, writers: int = 12, streams: int = 5) -> Outcome:
    """Let the writers contend for the streams, then let the follower catch up."""
    names = [uuid4() for _ in range(streams)]
    attempts: Counter[str] = Counter()
    followed, stop = Followed(), Event()
    with Database(url, size=writers + 1) as database:
        threads = [
            Thread(target=_write, args=(database, names, attempts, stop, random.Random(seed)))
            for seed in range(writers)
        ]
        follower = Thread(target=_follow, args=(database, followed, stop))
        for thread in [*threads, follower]:
            thread.start()
        stop.wait(seconds)
        stop.set()
        for thread in [*threads, follower]:
            thread.join()
        return _caught_up(database, followed, attempts)


def _write(database: Database, names: list[UUID], attempts: Counter[str], stop: Event, chance: random.Random) -> None:
    while not stop.is_set():
        try:
            with database.transaction() as connection:
                _misbehave(connection, names, chance)
            ended = "committed"
        except (ConflictError, LateAppendError, BusyError, _ChangedMindError) as error:
            ended = type(error).__name__
        attempts[ended] += 1


class _ChangedMindError(Exception):
    pass


def _misbehave(connection: Connection[Any], names: list[UUID], chance: random.Random) -> None:
    if chance.random() < 0.5:
        connection.execute("select pg_current_xact_id()")
    _pause(connection, chance)
    stream, other = chance.sample(names, 2)
    after = _last_version(connection, stream)
    if chance.random() < 0.2:
        with connection.transaction() as savepoint:
            append(connection, noted(stream, after, "dropped"))
            raise psycopg.Rollback(savepoint)
    new = [noted(stream, after, *"abc"[: chance.randint(1, 3)])]
    if chance.random() < 0.3:
        new.append(noted(other, _last_version(connection, other), "too"))
    append(connection, *new)
    _pause(connection, chance)
    if chance.random() < 0.1:
        raise _ChangedMindError


def _pause(connection: Connection[Any], chance: random.Random) -> None:
    connection.execute("select pg_sleep(%s)", (chance.random() * LONGEST_PAUSE_SECONDS,))


def _last_version(connection: Connection[Any], stream: UUID) -> int:
    row = connection.execute(
        "select max(originator_version) from haulage.events where originator_id = %s", (stream,)
    ).fetchone()
    return (row and row[0]) or 0


def _follow(database: Database, followed: Followed, stop: Event) -> None:
    with database.connection() as connection:
        while not stop.is_set():
            followed.events += LOG.read(connection, followed.position, 7)


def _caught_up(database: Database, followed: Followed, attempts: Counter[str]) -> Outcome:
    with database.connection() as connection:
        row = connection.execute("select count(*), max(notification_id) from haulage.events").fetchone()
        assert row is not None
        stored, last = row
        deadline = time.monotonic() + 10
        while followed.position < (last or 0):
            assert time.monotonic() < deadline, "the follower does not reach the last event"
            followed.events += LOG.read(connection, followed.position, 1000)
    return Outcome(attempts, followed, stored)
