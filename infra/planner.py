"""The planner: turns an operation's input into its manifest, and starts its first step.

Crash story. Staging commits a few blocks at a time and goes on behind the last of them (`staging.py`). The last
transaction stores what is left, appends the plan and the start of the first step, and removes the work row, together.
A small operation, whose items are one chunk, is applied in that same transaction too: it costs two commits in all, its
command and this. If the participant can't take the chunk then, only the plan is committed, and the chunk is work
like any other.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from psycopg import Connection

from haulage.domain.commands import Input
from haulage.domain.errors import (
    ConflictError,
    FencedError,
    InputError,
    LateAppendError,
    ParticipantRefusedError,
    RefusedError,
)
from haulage.domain.event import Context, Event, NewEvents
from haulage.domain.operation import (
    Operation,
    OperationFailed,
    OperationPlanned,
    decide_failed,
    decide_plan,
    decide_planning,
    fold,
)
from haulage.domain.ports import Request
from haulage.domain.status import Status
from haulage.domain.work import Claim, Task, Work
from haulage.infra.files.source import FORMATS, Source, open_source
from haulage.infra.postgres import work as work_table
from haulage.infra.postgres.store import PostgresStore, PostgresUnit
from haulage.infra.staging import Remainder, Stager
from haulage.sagas.definition import Backoff, ChunkContext, Definition, Definitions
from haulage.sagas.executor import NOT_THE_CHUNKS_FAULT, Executor
from haulage.sagas.process_manager import ACTOR

BACKOFF = Backoff(base_seconds=0.5, cap_seconds=30.0, attempts=6)

Fetch = Callable[[str], AbstractContextManager[Path]]
"""Brings an object of the bus's object store into a private file, for as long as the context lasts."""

_log = structlog.get_logger("haulage.planner")


class Planner:
    """Plans operations. Any number may work side by side."""

    def __init__(
        self,
        store: PostgresStore,
        definitions: Definitions,
        executor: Executor,
        *,
        fetch: Fetch,
        folders: Sequence[Path] | None,
        chance: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        """`folders` are where a command's path may lead; None is anywhere (one machine, one person)."""
        self._store = store
        self._definitions = definitions
        self._executor = executor
        self._stager = Stager(store.database, store.manifest)
        self._fetch = fetch
        self._folders = folders
        self._chance = chance
        self._stopping = stopping

    def plan(self, claim: Claim) -> None:
        """Plan the claimed operation, or end it with what is wrong with its input; raises as `Executor.apply`."""
        try:
            self._plan(claim)
        except NOT_THE_CHUNKS_FAULT:
            raise
        except RefusedError as error:
            self._fail(claim, error.code, str(error))
        except (ConflictError, LateAppendError):
            # A cancellation came in between: look again.
            self._again(claim, timedelta(0), claim.work.attempt)
        except Exception as error:
            if claim.work.attempt >= BACKOFF.attempts:
                self._fail(claim, "planning", f"Planning failed {BACKOFF.attempts} times: {type(error).__name__}.")
                raise
            delay = timedelta(seconds=BACKOFF.delay_seconds(claim.work.attempt, self._chance()))
            _log.warning("planning failed, and is tried again", operation=str(claim.work.operation), exc_info=True)
            self._again(claim, delay, claim.work.attempt + 1)

    def _plan(self, claim: Claim) -> None:
        operation = self._operation(claim.work.operation)
        if operation.status not in {Status.REQUESTED, Status.PLANNING}:
            self._drop(claim)
            return
        request = self._store.request(claim.work.operation)
        definition = self._definitions.get(request.kind, request.definition_version)
        assert definition is not None, "a worker claims only what it has the definition of"
        with self._open(request, definition) as source:
            remainder = self._stage(claim, operation, source)
        self._finish(claim, definition, remainder)

    def _stage(self, claim: Claim, operation: Operation, source: Source) -> Remainder:
        def hold(connection: Connection[Any]) -> None:
            if self._stopping():
                raise FencedError("this worker stops; another one goes on behind the last block")
            work_table.hold(connection, claim)
            events = [r.event for r in self._store.log.stream(connection, claim.work.operation, operation.version)]
            if fold(events, operation).status not in {Status.REQUESTED, Status.PLANNING}:
                raise ConflictError("the operation was cancelled while it was planned")

        def begin(connection: Connection[Any]) -> None:
            events = decide_planning(operation)
            if events:
                new = [NewEvents(claim.work.operation, operation.version, events, _context(claim.work))]
                self._store.log.append(connection, self._store.log.prepare(new))

        return self._stager.stage(source, claim.work.operation, hold=hold, on_first_block=begin)

    def _finish(self, claim: Claim, definition: Definition, remainder: Remainder) -> None:
        if remainder.stored == 0 and 0 < remainder.total <= definition.steps[0].chunk_items:
            try:
                self._plan_and_apply(claim, definition, remainder)
                return
            except (*NOT_THE_CHUNKS_FAULT, ConflictError, LateAppendError):
                raise
            except Exception:  # noqa: BLE001 - whatever an action raises is the chunk's matter: it is tried on its own
                _log.info("a small operation goes the long way", operation=str(claim.work.operation), exc_info=True)
        self._plan_alone(claim, definition, remainder)

    def _plan_and_apply(self, claim: Claim, definition: Definition, remainder: Remainder) -> None:
        """Plan, apply the only chunk of the first step, and complete what is complete then, in one transaction."""
        step = definition.steps[0]
        parameters = definition.parameters.model_validate(self._store.request(claim.work.operation).parameters)
        chunk = ChunkContext(claim.work.operation, claim.work.tenant, step.name, 1, remainder.total, parameters)
        checked = step.action.check(parameters, remainder.items())
        before = self._operation(claim.work.operation)
        work = _first_chunk(claim.work, step.name, remainder.total)

        def attempt(*, careful: bool) -> None:
            with self._store.begin() as unit:
                planned, new = self._record_plan(unit, claim, definition, remainder, before)
                if planned.status is not Status.RUNNING:
                    unit.append(new)
                    return
                applied = self._executor.take_effect(unit, step, chunk, checked, careful=careful, attempt=1)
                unit.append([*new, *self._executor.record(work, applied, planned)])

        try:
            attempt(careful=False)
        except ParticipantRefusedError:
            attempt(careful=True)

    def _plan_alone(self, claim: Claim, definition: Definition, remainder: Remainder) -> None:
        before = self._operation(claim.work.operation)
        with self._store.begin() as unit:
            _, new = self._record_plan(unit, claim, definition, remainder, before)
            unit.append(new)

    def _record_plan(
        self, unit: PostgresUnit, claim: Claim, definition: Definition, remainder: Remainder, before: Operation
    ) -> tuple[Operation, list[NewEvents]]:
        """Remove the work row, store what is left; the operation as planned, and the events that say so."""
        unit.finish(claim)
        summary = remainder.store(unit.connection)
        planned = OperationPlanned(
            items=summary.items,
            blocks=summary.blocks,
            manifest_digest=summary.manifest_digest,
            input_digest=summary.input_digest,
            input_bytes=summary.input_bytes,
            steps=tuple(step.name for step in definition.steps),
            chunk_items=definition.steps[0].chunk_items,
        )
        events: tuple[Event, ...] = decide_planning(before)
        events += decide_plan(fold(events, before), planned)
        new = [NewEvents(claim.work.operation, before.version, events, _context(claim.work))] if events else []
        return fold(events, before), new

    def _open(self, request: Request, definition: Definition) -> "_Opened":
        return _Opened(Input.model_validate(request.input), definition.columns, self._fetch, self._folders)

    def _fail(self, claim: Claim, code: str, message: str) -> None:
        operation = self._operation(claim.work.operation)
        events = decide_failed(operation, OperationFailed(code=code, message=message))
        with self._store.begin() as unit:
            unit.finish(claim)
            if events:
                unit.append([NewEvents(claim.work.operation, operation.version, events, _context(claim.work))])

    def _again(self, claim: Claim, delay: timedelta, attempt: int) -> None:
        with self._store.begin() as unit:
            unit.retry(claim, delay.total_seconds(), attempt, 0)

    def _drop(self, claim: Claim) -> None:
        with self._store.begin() as unit:
            unit.finish(claim)

    def _operation(self, operation: UUID) -> Operation:
        return fold(recorded.event for recorded in self._store.stream(operation))


class _Opened(AbstractContextManager[Source]):
    """An input, wherever it is, as an open source. Its name is kept out of messages: it may be somebody's."""

    def __init__(self, given: Input, columns: Sequence[str], fetch: Fetch, folders: Sequence[Path] | None) -> None:
        self._given = given
        self._columns = columns
        self._folders = folders
        self._file = fetch(given.object) if given.object else nullcontext(Path(given.path or ""))
        self._source: Source | None = None

    def __enter__(self) -> Source:
        given = self._given
        path = self._file.__enter__()
        try:
            self._source = open_source(
                path,
                file_format=given.format or _format_of(given.name),
                required=self._columns,
                folders=None if given.object else self._folders,
                name="The input",
                private=given.object is not None,
            )
        except BaseException:
            self._file.__exit__(None, None, None)
            raise
        return self._source

    def __exit__(self, *error: Any) -> None:
        if self._source:
            self._source.close()
        self._file.__exit__(*error)


def _format_of(name: str) -> str:
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"The name of the input does not end in one of {', '.join(FORMATS)}. Rename the file, or say its format "
            "(`csv` or `ndjson`)."
        )
    return FORMATS[ending]


def _first_chunk(work: Work, step: str, items: int) -> Work:
    return Work(
        operation=work.operation,
        tenant=work.tenant,
        kind=work.kind,
        definition_version=work.definition_version,
        task=Task.APPLY,
        step=step,
        first=1,
        last=items,
        priority=work.priority,
    )


def _context(work: Work) -> Context:
    return Context(operation=work.operation, tenant=work.tenant, kind=work.kind, actor=ACTOR)
