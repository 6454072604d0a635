"""The executor: carries a claimed chunk out, in one transaction with everything that records it.

Crash story. The transaction removes the work row first, as the claim's owner, then takes effect, keeps the undo
records, appends `chunk.applied`, and commits.
1. Died before the commit: nothing happened; the row is claimed again by somebody else.
2. Died after it, or the commit's answer was lost: everything happened; the row is gone, there is nothing to claim.
3. Frozen, handed on, thawed: the row is not ours, `FencedError`, nothing is committed.
4. The attempt failed: a second transaction records that, and gives the row back with a later due time.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from haulage.domain.chunk import (
    Chunk,
    ChunkApplied,
    ChunkAttemptFailed,
    ChunkCompensated,
    ChunkSplit,
    decide_applied,
    decide_compensated,
    decide_failed,
)
from haulage.domain.chunk import fold as fold_chunk
from haulage.domain.errors import (
    ConflictError,
    FencedError,
    LateAppendError,
    NotNowError,
    ParticipantRefusedError,
    RefusedError,
)
from haulage.domain.event import Context, Event, NewEvents
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Outcome, OutcomeKind, compact, each
from haulage.domain.operation import Operation, OperationFailed, decide_step_completed, fold
from haulage.domain.operation import decide_failed as decide_failed_operation
from haulage.domain.ports import Store, Unit
from haulage.domain.status import Status
from haulage.domain.work import Claim, Work
from haulage.sagas.definition import BulkStep, Checked, ChunkContext, Definition, Definitions
from haulage.sagas.process_manager import ACTOR

NOT_THE_CHUNKS_FAULT = (FencedError, NotNowError)
"""Errors that no attempt is counted for."""

REMEMBERED = 1000
"""Operations whose parameters and manners are kept in memory."""


@dataclass(slots=True)
class _Known:
    """What an executor remembers of an operation: its validated parameters, and how its chunks are best applied."""

    parameters: object
    careful: bool = False


class Executor:
    """Applies chunks. Stateless but for a bounded memory; any number may work side by side."""

    def __init__(
        self, store: Store, definitions: Definitions, *, now: Callable[[], datetime], chance: Callable[[], float]
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._now = now
        self._chance = chance
        self._known: OrderedDict[UUID, _Known] = OrderedDict()

    def apply(self, claim: Claim) -> None:
        """Apply the claimed chunk, or record that the attempt failed.

        Raises `FencedError` where the claim is gone, and `NotNowError` where the database can't do anything just now:
        the claim is still held then.
        """
        try:
            self._attempt(claim, self._step(claim.work))
        except ConflictError:
            self._settle(claim)

    def _attempt(self, claim: Claim, step: BulkStep) -> None:
        try:
            self._apply(claim, step)
        except (*NOT_THE_CHUNKS_FAULT, ConflictError):
            raise
        except RefusedError as error:
            self._fail(claim, step, error)
        except Exception as error:  # noqa: BLE001 - whatever an action raises is a failed attempt, recorded as such
            self._record_failure(claim, step, error)

    def check(self, work: Work, step: BulkStep) -> tuple[ChunkContext, Checked]:
        """Read and validate a chunk's items, outside any transaction."""
        parameters = self._memory(work).parameters
        chunk = ChunkContext(work.operation, work.tenant, work.step, work.first, work.last, parameters)
        return chunk, step.action.check(parameters, self._store.items(work.operation, work.first, work.last))

    def take_effect(
        self, unit: Unit, step: BulkStep, chunk: ChunkContext, checked: Checked, *, careful: bool, attempt: int
    ) -> ChunkApplied:
        """Within `unit`: apply what was checked, keep the undo records; the event that records it."""
        applied = step.action.apply(unit.participant(step.action.participant_name), chunk, checked, careful=careful)
        return ChunkApplied(
            step=chunk.step,
            first=chunk.first,
            last=chunk.last,
            exceptions=compact([*checked.rejected, *applied.exceptions]),
            undo_digest=unit.keep_undo(chunk.operation, chunk.step, (chunk.first, chunk.last), applied.undo),
            attempt=attempt,
        )

    def compensate(self, claim: Claim) -> None:
        """Compensate the claimed chunk, or record that the attempt failed; raises as `apply` does."""
        work, step = claim.work, self._step(claim.work)
        chunk = fold_chunk([recorded.event for recorded in self._store.stream(_stream(work))])
        try:
            self._compensate(claim, step, chunk)
        except (*NOT_THE_CHUNKS_FAULT, ConflictError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever an action raises is a failed attempt, recorded as such
            self._record_failed_compensation(claim, step, chunk, error)

    def _compensate(self, claim: Claim, step: BulkStep, chunk: Chunk) -> None:
        work, applied = claim.work, chunk.applied
        context = ChunkContext(
            work.operation, work.tenant, work.step, work.first, work.last, self._memory(work).parameters
        )
        with self._store.begin() as unit:
            unit.finish(claim)
            if applied is None or chunk.compensated:
                return
            undo = unit.load_undo(work.operation, work.step, (work.first, work.last))
            participant = unit.participant(step.action.participant_name)
            done = step.action.compensate(participant, context, list(each(applied.exceptions)), undo)
            compensated = ChunkCompensated(
                step=work.step,
                first=work.first,
                last=work.last,
                conflicting=compact(done.conflicting),
                attempt=work.attempt,
            )
            events = decide_compensated(chunk, compensated)
            unit.append([NewEvents(_stream(work), chunk.version, events, _context(work))])

    def _record_failed_compensation(self, claim: Claim, step: BulkStep, chunk: Chunk, error: Exception) -> None:
        """Try again later; after the last attempt the whole chunk is left for a person, and the rollback goes on."""
        work = claim.work
        name = type(error).__name__
        with self._store.begin() as unit:
            if work.attempt < step.backoff.attempts:
                delay = step.backoff.delay_seconds(work.attempt, self._chance())
                due_at = self._now() + timedelta(seconds=delay)
                event: Event = ChunkAttemptFailed(
                    step=work.step, first=work.first, last=work.last, attempt=work.attempt, error=name, due_at=due_at
                )
                unit.retry(claim, delay, work.attempt + 1, chunk.version + 1)
            else:
                left = [Outcome(n, OutcomeKind.REJECTED, f"failed_{name}") for n in _with_effect(chunk)]
                event = ChunkCompensated(
                    step=work.step,
                    first=work.first,
                    last=work.last,
                    conflicting=compact(left),
                    attempt=work.attempt,
                )
                unit.finish(claim)
            unit.append([NewEvents(_stream(work), chunk.version, (event,), _context(work))])

    def _apply(self, claim: Claim, step: BulkStep) -> None:
        work = claim.work
        chunk, checked = self.check(work, step)
        # Read before the transaction's first write, so that the effect comes after its causes in the log.
        operation = self._operation_if_whole(work)
        memory = self._memory(work)
        try:
            applied = self._commit(claim, step, chunk, checked, operation, careful=memory.careful)
        except ParticipantRefusedError:
            # One bad item often means more: the next chunks begin carefully, until one turns out clean.
            memory.careful = True
            applied = self._commit(claim, step, chunk, checked, operation, careful=True)
        memory.careful = memory.careful and len(applied.exceptions) > 0

    def _commit(
        self,
        claim: Claim,
        step: BulkStep,
        chunk: ChunkContext,
        checked: Checked,
        operation: Operation | None,
        *,
        careful: bool,
    ) -> ChunkApplied:
        work = claim.work
        with self._store.begin() as unit:
            unit.finish(claim)
            applied = self.take_effect(unit, step, chunk, checked, careful=careful, attempt=work.attempt)
            unit.append(self.record(work, applied, operation))
        return applied

    def record(self, work: Work, applied: ChunkApplied, operation: Operation | None) -> list[NewEvents]:
        """The events of an applied chunk; with `operation`, whose whole step this is, those that complete it too."""
        context = _context(work)
        stream = _stream(work)
        events = decide_applied(Chunk(version=work.chunk_version), applied)
        new = [NewEvents(stream, work.chunk_version, events, context)]
        completed = decide_step_completed(operation, work.step, applied.counts) if operation else ()
        if operation and completed:
            new.append(NewEvents(work.operation, operation.version, completed, context))
        return new

    def _operation_if_whole(self, work: Work) -> Operation | None:
        if work.first != 1 or work.attempt > 1:
            return None
        operation = fold(recorded.event for recorded in self._store.stream(work.operation))
        return operation if operation.items == work.last else None

    def _record_failure(self, claim: Claim, step: BulkStep, error: Exception) -> None:
        work = claim.work
        if isinstance(error, LateAppendError):
            # Nobody's fault and no attempt: only the order of two transactions. Again, at once.
            with self._store.begin() as unit:
                unit.retry(claim, 0.0, work.attempt, work.chunk_version)
            return
        delay = step.backoff.delay_seconds(work.attempt, self._chance())
        due_at = self._now() + timedelta(seconds=delay)
        name = type(error).__name__
        failed = ChunkAttemptFailed(
            step=work.step, first=work.first, last=work.last, attempt=work.attempt, error=name, due_at=due_at
        )
        if work.attempt >= step.backoff.attempts and work.first == work.last:
            self._reject(claim, name)
            return
        events = decide_failed(Chunk(version=work.chunk_version), failed, step.backoff.attempts)
        stream = _stream(work)
        with self._store.begin() as unit:
            if any(isinstance(event, ChunkSplit) for event in events):
                unit.finish(claim)
                unit.enqueue(halves(work))
            else:
                unit.retry(claim, delay, work.attempt + 1, work.chunk_version + len(events))
            unit.append([NewEvents(stream, work.chunk_version, events, _context(work))])

    def _reject(self, claim: Claim, error: str) -> None:
        """The poison item stands alone and still fails: it is rejected, and its neighbours never notice."""
        work = claim.work
        outcome = Outcome(work.first, OutcomeKind.REJECTED, f"failed_{error}")
        applied = ChunkApplied(
            step=work.step, first=work.first, last=work.last, exceptions=compact([outcome]), attempt=work.attempt
        )
        with self._store.begin() as unit:
            unit.finish(claim)
            unit.append(self.record(work, applied, None))

    def _fail(self, claim: Claim, step: BulkStep, error: RefusedError) -> None:
        """What every chunk would meet (the organization is gone, say) ends the operation, not item after item.

        While a pause is asked for, the chunk is given back: it meets the same again after the pause, or nothing.
        """
        work = claim.work
        operation = fold(recorded.event for recorded in self._store.stream(work.operation))
        events = decide_failed_operation(
            operation, OperationFailed(code=error.code, message=str(error), step=work.step)
        )
        with self._store.begin() as unit:
            if operation.status in {Status.PAUSING, Status.PAUSED}:
                delay = step.backoff.delay_seconds(work.attempt, self._chance())
                unit.retry(claim, delay, work.attempt, work.chunk_version)
                return
            unit.finish(claim)
            if events:
                unit.append([NewEvents(work.operation, operation.version, events, _context(work))])

    def _settle(self, claim: Claim) -> None:
        """The append met a conflict: look at what the streams say, and go on from there."""
        work = claim.work
        stream = _stream(work)
        chunk = fold_chunk([recorded.event for recorded in self._store.stream(stream)])
        with self._store.begin() as unit:
            if chunk.applied or chunk.split:
                unit.finish(claim)
            else:
                # The operation's stream has moved on (a pause, say). A second attempt leaves the end to others.
                unit.retry(claim, 0.0, max(work.attempt + 1, chunk.attempts + 1), chunk.version)

    def _step(self, work: Work) -> BulkStep:
        return self._definition(work).step(work.step)

    def _definition(self, work: Work) -> Definition:
        definition = self._definitions.get(work.kind, work.definition_version)
        if definition is None:
            raise LookupError(f"no definition {work.kind} version {work.definition_version} in this process")
        return definition

    def _memory(self, work: Work) -> _Known:
        known = self._known.get(work.operation)
        if known is None:
            parameters = self._store.request(work.operation).parameters
            validated = self._definition(work).parameters.model_validate(parameters)
            known = self._known[work.operation] = _Known(validated)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known


def halves(work: Work) -> tuple[Work, Work]:
    """The two chunks a split one becomes."""
    middle = (work.first + work.last) // 2
    fresh = replace(work, attempt=1, chunk_version=0)
    return replace(fresh, last=middle), replace(fresh, first=middle + 1)


def _with_effect(chunk: Chunk) -> list[int]:
    """The ordinals of an applied chunk that there is something to undo of."""
    if chunk.applied is None:
        return []
    without = {outcome.ordinal for outcome in each(chunk.applied.exceptions)}
    return [n for n in range(chunk.applied.first, chunk.applied.last + 1) if n not in without]


def _stream(work: Work) -> UUID:
    return chunk_stream(work.operation, work.step, work.first, work.last)


def _context(work: Work) -> Context:
    return Context(operation=work.operation, tenant=work.tenant, kind=work.kind, actor=ACTOR)
