"""`haulage history`: the events of an operation, oldest first, and its state as it was at any of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from haulage.domain.errors import NotFoundError
from haulage.domain.event import Recorded
from haulage.domain.operation import fold
from haulage.infra.bootstrap import Parts
from haulage.infra.cli import wording
from haulage.infra.cli.access import reading
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.names import resolve
from haulage.infra.cli.showing import write_progress
from haulage.infra.cli.terminal import emit, emit_lines, write
from haulage.infra.cli.times import parse_time
from haulage.infra.postgres import views
from haulage.infra.postgres.errors import BusyError
from haulage.infra.settings import Settings
from haulage.projections import progress
from haulage.projections.document import document

READ_EVENTS = 2_000

LINE_WITHIN_SECONDS = 10.0


def history(settings: Settings, operation: str, *, at: str | None, chunks: bool, as_json: bool) -> None:
    """Write the events of an operation, or its state as it was `at` a time or version."""
    with reading(settings) as parts:
        with parts.database.connection() as connection:
            found = resolve(connection, operation)
        if at is not None:
            _write_state(parts, found, at, as_json)
        elif as_json:
            emit_lines(map(event_document, events_of(parts, found, chunks=chunks)))
        else:
            for recorded in events_of(parts, found, chunks=chunks):
                write(event_line(recorded))


# -- reading -----------------------------------------------------------------------------------------------------------
def events_of(parts: Parts, operation: UUID, *, chunks: bool = True) -> Iterator[Recorded]:
    """All events of an operation in the order of the log; with `chunks`, those of its chunks' streams among them.

    Which chunks there were is not looked up but read: the log itself is the answer, from the operation's first event
    to the last one that can be its own.
    """
    stream = parts.store.stream(operation)
    if not chunks:
        yield from stream
        return
    position, end = stream[0].position - 1, _end(parts, operation, stream)
    while position < end:
        page = _page(parts, position)
        yield from (event for event in page if event.context.operation == operation and event.position <= end)
        position = page[-1].position


def _page(parts: Parts, position: int) -> Sequence[Recorded]:
    """The next events. They exist, but while an older transaction is open the line of the log is below them."""
    deadline = time.monotonic() + LINE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        with parts.database.connection() as connection:
            if page := parts.log.read(connection, position, READ_EVENTS):
                return page
        time.sleep(0.02)
    raise BusyError(
        f"A transaction that has been open for long keeps the log from being read after position {position}. "
        "`haulage doctor` says whose it is."
    )


def _end(parts: Parts, operation: UUID, stream: Sequence[Recorded]) -> int:
    """The last position at which an event of the operation can be."""
    with parts.database.connection() as connection:
        if not fold(recorded.event for recorded in stream).ended:
            return parts.log.head(connection)
        # Chunks in flight may end after the operation has failed.
        entries = views.timeline(connection, operation)
    return max([stream[-1].position, *(entry.last_position for entry in entries)])


# -- the state as it was -----------------------------------------------------------------------------------------------
def _write_state(parts: Parts, operation: UUID, at: str, as_json: bool) -> None:
    wanted = _until(parts, operation, at)
    found: progress.Views = {}
    last: Recorded | None = None
    # Positions are in order, times only nearly: transactions run side by side. So nothing is cut off, but sifted.
    for recorded in filter(wanted, events_of(parts, operation)):
        progress.fold(found, recorded)
        last = recorded
    if last is None:
        raise UsageError(f"The operation did not exist yet at {at}.")
    as_of = last.at if at.isdigit() else parse_time(at)
    if as_json:
        emit({"as_of": as_of.isoformat(), **document(found[operation], as_of)})
    else:
        write_progress(found[operation], as_of=as_of)


def _until(parts: Parts, operation: UUID, at: str) -> Callable[[Recorded], bool]:
    """Whether an event belongs to the state at `at`: a version of the operation's stream, or a time."""
    if not at.isdigit():
        moment = parse_time(at)
        return lambda recorded: recorded.at <= moment
    stream = parts.store.stream(operation)
    if not 1 <= int(at) <= len(stream):
        raise NotFoundError(f"The operation has no version {at}: its versions go from 1 to {len(stream)}.")
    last = stream[int(at) - 1].position
    return lambda recorded: recorded.position <= last


# -- writing -----------------------------------------------------------------------------------------------------------
def event_document(recorded: Recorded) -> dict[str, Any]:
    """An event as JSON. `position` is a decimal string, since it passes 2^53."""
    return {
        "position": str(recorded.position),
        "stream": str(recorded.stream),
        "version": recorded.version,
        "at": recorded.at.isoformat(),
        "id": str(recorded.id),
        "actor": recorded.context.actor,
        "tenant": recorded.context.tenant,
        "kind": recorded.context.kind,
        "operation": str(recorded.context.operation),
        "topic": recorded.event.topic,
        "data": recorded.event.model_dump(mode="json"),
    }


def event_line(recorded: Recorded) -> str:
    """An event for people: position, time, actor, topic with the version in its stream, data."""
    topic = f"{recorded.event.topic} ({recorded.version})"
    head = f"{recorded.position}  {wording.when(recorded.at)}  {recorded.context.actor:<12}  {topic:<34}"
    return f"{head}  {_data(recorded)}".rstrip()


def _data(recorded: Recorded) -> str:
    """On one line; lists of outcomes as counts, and nothing that is empty."""
    told = []
    for name, value in recorded.event.model_dump(mode="json").items():
        if name in ("exceptions", "conflicting") and isinstance(value, list):
            told += [f"{group['kind']}={_count(group['runs'])}×{group['code']}" for group in value]
        elif value not in (None, [], {}, ""):
            told.append(f"{name}={_plain(value)}")
    return " ".join(told)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}:{_plain(inner)}" for name, inner in value.items())
    return ",".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _count(runs: list[list[int]]) -> int:
    return sum(last - first + 1 for first, last in runs)
