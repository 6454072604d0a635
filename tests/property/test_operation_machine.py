"""Any interleaving of commands, chunk outcomes, crashes and duplicates leaves an operation that can be explained.

The pure functions alone: a log in a list, work in a list, and the process manager's memory of what it has read.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from haulage.domain import chunk as chunks
from haulage.domain import commands as c
from haulage.domain import operation as aggregate
from haulage.domain.chunk import ChunkApplied, ChunkAttemptFailed, ChunkCompensated, ChunkSplit
from haulage.domain.errors import RefusedError
from haulage.domain.event import Context, Event, Recorded
from haulage.domain.identity import chunk_stream
from haulage.domain.items import Outcome, OutcomeKind, compact
from haulage.domain.operation import (
    Operation,
    OperationFailed,
    OperationPlanned,
    OperationRequested,
    decide_failed,
    decide_plan,
    decide_planning,
)
from haulage.domain.ports import AppliedChunk
from haulage.domain.status import ENDS, RESTS, TRANSITIONS, Status
from haulage.domain.work import Task, Work
from haulage.sagas.executor import halves
from haulage.sagas.process_manager import AskApplied, AskInFlight, Dispatch, Found, asks, begin, decide, drops, evolve

ID = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = Context(operation=ID, tenant="acme", kind="import-users", actor="ada")
ATTEMPTS = 2

SELDOM = st.integers(0, 9).map(lambda chance: chance == 9)
"""What ends an operation must be seldom, or nothing else would ever be seen."""

kinds = st.sampled_from(OutcomeKind)


@dataclass
class Job:
    """A piece of work, who has it, and whether it is held."""

    work: Work
    claimed: bool = False
    held: bool = False


class OperationMachine(RuleBasedStateMachine):
    """One operation, from its request to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Recorded] = []
        self.jobs: list[Job] = []
        self.dispatch: Dispatch | None = None
        self.read = 0
        self.statuses: list[Status] = []

    # -- the log -------------------------------------------------------------------------------------------------------
    def stream(self, stream: UUID) -> list[Event]:
        return [recorded.event for recorded in self.log if recorded.stream == stream]

    def append(self, stream: UUID, after: int, events: tuple[Event, ...]) -> bool:
        """False where the stream has moved on."""
        if len(self.stream(stream)) != after:
            return False
        for event in events:
            position = len(self.log) + 1
            version = len(self.stream(stream)) + 1
            self.log.append(Recorded(stream, version, position, NOW, UUID(int=position), CONTEXT, event))
            if stream == ID:
                self.statuses.append(self.operation.status)
        return True

    @property
    def operation(self) -> Operation:
        return aggregate.fold(self.stream(ID))

    def happened(self, kind: type[Event]) -> list[Event]:
        return [recorded.event for recorded in self.log if isinstance(recorded.event, kind)]

    # -- what people do ------------------------------------------------------------------------------------------------
    @initialize(
        items=st.integers(0, 9),
        chunk_items=st.integers(1, 4),
        steps=st.integers(1, 2),
        window=st.integers(1, 3),
        undisturbed=st.integers(0, 4),
    )
    def request(self, items: int, chunk_items: int, steps: int, window: int, undisturbed: int) -> None:
        """An operation is asked for, and nobody disturbs its first few turns."""
        self.window = window
        self.plan = OperationPlanned(
            items=items,
            blocks=1,
            manifest_digest="",
            steps=("first", "second")[:steps],
            chunk_items=chunk_items,
        )
        self.append(ID, 0, (OperationRequested(definition_version=1, parameters_digest=""),))
        for _ in range(undisturbed):
            self.plan_it()
            self.dispatch_some(100)

    @rule(verb=st.sampled_from([c.PauseOperation, c.ResumeOperation]))
    def pause_or_resume(self, verb: type[c.Command]) -> None:
        self.command(verb)

    @rule(verb=st.sampled_from([c.CancelOperation, c.RollBackOperation, c.CloseOperation]), seldom=SELDOM)
    def stop(self, verb: type[c.Command], seldom: bool) -> None:
        if seldom:
            self.command(verb)

    def command(self, verb: type[c.Command]) -> None:
        """A command, and at once its duplicate: it has its effect once, or is refused."""
        command = verb(command_id=ID, operation=ID, reason="because")  # type: ignore[call-arg]
        before = self.operation
        try:
            events = aggregate.decide(before, command)
        except RefusedError:
            return
        self.append(ID, before.version, events)
        assert aggregate.decide(self.operation, command) == ()

    # -- what workers do -----------------------------------------------------------------------------------------------
    @rule()
    def plan_it(self) -> None:
        operation = self.operation
        if events := decide_planning(operation):
            self.append(ID, operation.version, events)
        else:
            self.append(ID, operation.version, decide_plan(operation, self.plan))

    @precondition(lambda self: any(not job.claimed and not job.held for job in self.jobs))
    @rule(which=st.integers(0))
    def claim(self, which: int) -> None:
        free = [job for job in self.jobs if not job.claimed and not job.held]
        free[which % len(free)].claimed = True

    @precondition(lambda self: any(not job.claimed and not job.held for job in self.jobs))
    @rule(kind=kinds)
    def do_the_next(self, kind: OutcomeKind) -> None:
        """A worker claims the oldest piece and carries it out."""
        job = next(job for job in self.jobs if not job.claimed and not job.held)
        if self.record(job.work, kind):
            self.jobs.remove(job)

    @precondition(lambda self: any(job.claimed for job in self.jobs))
    @rule(which=st.integers(0), kind=kinds)
    def carry_out(self, which: int, kind: OutcomeKind) -> None:
        """The chunk's first item ends somehow, the others succeed."""
        claimed = [job for job in self.jobs if job.claimed]
        job = claimed[which % len(claimed)]
        if self.record(job.work, kind):
            self.jobs.remove(job)

    def record(self, work: Work, kind: OutcomeKind = OutcomeKind.SUCCEEDED) -> bool:
        stream = chunk_stream(ID, work.step, work.first, work.last)
        chunk = chunks.fold(self.stream(stream))
        told = compact([Outcome(work.first, kind, "because")])
        if work.task is Task.COMPENSATE:
            compensated = ChunkCompensated(step=work.step, first=work.first, last=work.last, conflicting=told)
            return self.append(stream, chunk.version, chunks.decide_compensated(chunk, compensated))
        applied = ChunkApplied(step=work.step, first=work.first, last=work.last, exceptions=told)
        return self.append(stream, chunk.version, chunks.decide_applied(chunk, applied))

    @precondition(lambda self: any(job.claimed and job.work.task is Task.APPLY for job in self.jobs))
    @rule(which=st.integers(0))
    def fail(self, which: int) -> None:
        """An attempt fails: the work is given back, or split."""
        claimed = [job for job in self.jobs if job.claimed and job.work.task is Task.APPLY]
        job = claimed[which % len(claimed)]
        work, stream = job.work, chunk_stream(ID, job.work.step, job.work.first, job.work.last)
        chunk = chunks.fold(self.stream(stream))
        failed = ChunkAttemptFailed(
            step=work.step, first=work.first, last=work.last, attempt=work.attempt, error="OSError", due_at=NOW
        )
        events = chunks.decide_failed(chunk, failed, ATTEMPTS)
        self.append(stream, chunk.version, events)
        if any(isinstance(event, ChunkSplit) for event in events):
            self.jobs.remove(job)
            self.jobs += [Job(half) for half in halves(work)]
        else:
            job.work, job.claimed = replace(work, attempt=work.attempt + 1), False

    @rule(seldom=SELDOM)
    def cannot_go_on(self, seldom: bool) -> None:
        """What every chunk would meet ends the operation."""
        operation = self.operation
        if seldom:
            failed = OperationFailed(code="refused", message="The organization is gone.")
            self.append(ID, operation.version, decide_failed(operation, failed))

    @rule()
    def crash(self) -> None:
        """Every worker dies; its claims are given back."""
        for job in self.jobs:
            job.claimed = False

    @precondition(lambda self: any(isinstance(recorded.event, ChunkApplied) for recorded in self.log))
    @rule(which=st.integers(0), kind=kinds)
    def do_again(self, which: int, kind: OutcomeKind) -> None:
        """A worker that was frozen repeats what was done long ago."""
        done = self.happened(ChunkApplied)
        again = done[which % len(done)]
        assert isinstance(again, ChunkApplied)
        before = len(self.log)
        self.record(Work(ID, "acme", "import-users", 1, Task.APPLY, again.step, again.first, again.last), kind)
        assert len(self.log) == before

    # -- what the process manager does ---------------------------------------------------------------------------------
    @rule(events=st.integers(1, 5))
    def dispatch_some(self, events: int) -> None:
        """Read some events, decide, and carry the decision out; a conflict drops what was decided, nothing else."""
        new = self.log[self.read : self.read + events]
        dispatch = self.dispatch
        for recorded in new:
            if isinstance(recorded.event, OperationRequested):
                dispatch = begin(recorded)
            dispatch = evolve(dispatch, recorded) if dispatch else None
        self.read += len(new)
        self.dispatch = dispatch
        if dispatch is None:
            return
        decision = decide(dispatch, self.window, self.found(dispatch))
        if decision.withdraw:
            self.jobs = [job for job in self.jobs if job.claimed]
        for job in self.jobs:
            job.held = (job.held or (decision.hold and not job.claimed)) and not decision.release
        self.jobs += [Job(work) for work in decision.work]
        self.append(ID, dispatch.operation.version, decision.events)
        self.dispatch = None if drops(decision.dispatch) else decision.dispatch

    def found(self, dispatch: Dispatch) -> Found | None:
        match asks(dispatch, self.window):
            case AskInFlight():
                return Found(sum(job.claimed or not job.held for job in self.jobs), head=len(self.log))
            case AskApplied() as ask:
                undone = {r.stream for r in self.log if isinstance(r.event, ChunkCompensated)}
                applied = [
                    AppliedChunk(r.event.first, r.event.last, r.position)
                    for r in reversed(self.log)
                    if isinstance(r.event, ChunkApplied) and r.event.step == ask.step
                    if r.stream not in undone and r.position < ask.before
                ]
                return Found(applied=applied[: ask.limit])
            case None:
                return None

    # -- what must hold at each moment ---------------------------------------------------------------------------------
    @invariant()
    def statuses_follow_the_table(self) -> None:
        moves = {(a, b) for a, b in zip(self.statuses, self.statuses[1:], strict=False) if a is not b}
        assert moves <= set(TRANSITIONS)

    @invariant()
    def an_end_is_the_end(self) -> None:
        assert not any(status in ENDS for status in self.statuses[:-1])

    @invariant()
    def each_item_has_at_most_one_outcome_in_each_step(self) -> None:
        told = [
            (event.step, ordinal)
            for event in self.happened(ChunkApplied)
            if isinstance(event, ChunkApplied)
            for ordinal in range(event.first, event.last + 1)
        ]
        assert len(told) == len(set(told))
        assert all(1 <= ordinal <= self.plan.items for _, ordinal in told)

    @invariant()
    def progress_never_exceeds_the_total(self) -> None:
        assert self.operation.counts.done <= self.operation.items
        if self.dispatch:
            assert 0 <= self.dispatch.counts.done <= self.dispatch.operation.items
            assert self.dispatch.outstanding >= 0

    @invariant()
    def nothing_is_compensated_twice_or_without_having_been_applied(self) -> None:
        compensated = [(e.step, e.first) for e in self.happened(ChunkCompensated) if isinstance(e, ChunkCompensated)]
        applied = {(e.step, e.first) for e in self.happened(ChunkApplied) if isinstance(e, ChunkApplied)}
        assert len(compensated) == len(set(compensated))
        assert set(compensated) <= applied

    @invariant()
    def nothing_is_in_hand_where_nothing_may_happen(self) -> None:
        if self.operation.status in {Status.PAUSED, Status.CANCELLED, Status.ROLLED_BACK, Status.NEEDS_ATTENTION}:
            assert not any(job.claimed for job in self.jobs)

    @invariant()
    def folding_from_any_cut_equals_folding_whole(self) -> None:
        events = self.stream(ID)
        for cut in range(len(events)):
            assert aggregate.fold(events[cut:], aggregate.fold(events[:cut])) == self.operation

    # -- how it ends ---------------------------------------------------------------------------------------------------
    def teardown(self) -> None:
        """When nothing goes wrong any more, it comes to rest, and everything adds up."""
        if not self.log:
            return
        for _ in range(200):
            if self.operation.status in RESTS and not self.jobs:
                break
            self.go_on()
        operation = self.operation
        assert operation.status in RESTS
        assert not self.jobs
        if operation.status in {Status.COMPLETED, Status.COMPLETED_WITH_REJECTS}:
            assert operation.counts.done == operation.items
            assert (operation.status is Status.COMPLETED) == (operation.counts.rejected == 0)
        if operation.status in {Status.ROLLED_BACK, Status.NEEDS_ATTENTION}:
            assert len(self.happened(ChunkCompensated)) == len(self.happened(ChunkApplied))
        self.an_end_is_the_end()
        self.each_item_has_at_most_one_outcome_in_each_step()

    def go_on(self) -> None:
        self.plan_it()
        self.dispatch_some(100)
        if self.operation.status is Status.PAUSED:
            self.command(c.ResumeOperation)
        for job in [job for job in self.jobs if not job.held]:
            self.record(job.work)
            self.jobs.remove(job)


TestOperationMachine = OperationMachine.TestCase
TestOperationMachine.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
