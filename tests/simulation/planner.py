"""The plan step of the simulator, in place of infra's planner: the same events and claims, but nothing is staged.

Crash story, as there. Planning begins in a transaction of its own, while the claim is held; the plan, the end of the
claim and, where the items are one chunk, that chunk too, are another. Died in between: whoever claims next finds the
operation planning, and goes on.
"""

from haulage.domain.errors import ConflictError, LateAppendError
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
from haulage.domain.ports import Store
from haulage.domain.status import Status
from haulage.domain.work import Claim, Task, Work
from haulage.sagas.definition import Definition, Definitions
from haulage.sagas.executor import NOT_THE_CHUNKS_FAULT, Executor
from haulage.sagas.process_manager import ACTOR

UNUSABLE = "unusable"
"""The only item of an input that can't be planned."""


class Planner:
    """Plans claimed operations."""

    def __init__(self, store: Store, definitions: Definitions, executor: Executor) -> None:
        self._store = store
        self._definitions = definitions
        self._executor = executor

    def plan(self, claim: Claim) -> None:
        """Plan, or fail, or drop what a person has cancelled; `ConflictError` where one does so just now."""
        operation = self._begun(claim)
        names = list(self._store.items(claim.work.operation, 1, 1_000_000).contents)
        definition = self._definitions.get(claim.work.kind, claim.work.definition_version)
        assert definition is not None
        if names == [UNUSABLE]:
            events = decide_failed(operation, OperationFailed(code="input", message="The input can't be used."))
            self._finish(claim, operation, events)
            return
        events = decide_plan(operation, _plan(definition, len(names)))
        small = 0 < len(names) <= definition.steps[0].chunk_items
        if not (small and self._applied_too(claim, definition, operation, events)):
            self._finish(claim, operation, events)

    def _begun(self, claim: Claim) -> Operation:
        operation = self._operation(claim.work)
        events = decide_planning(operation)
        if not events:
            return operation
        with self._store.begin() as unit:
            unit.hold(claim)
            unit.append([_new(claim.work, operation, events)])
        return fold(events, operation)

    def _finish(self, claim: Claim, operation: Operation, events: tuple[Event, ...]) -> None:
        with self._store.begin() as unit:
            unit.finish(claim)
            unit.append([_new(claim.work, operation, events)])

    def _applied_too(
        self, claim: Claim, definition: Definition, operation: Operation, events: tuple[Event, ...]
    ) -> bool:
        """Whether the plan and its only chunk could be one transaction."""
        planned = fold(events, operation)
        if planned.status is not Status.RUNNING:
            return False
        step = definition.steps[0]
        work = _only_chunk(claim.work, step.name, planned.items)
        chunk, checked = self._executor.check(work, step)
        try:
            with self._store.begin() as unit:
                unit.finish(claim)
                applied = self._executor.take_effect(unit, step, chunk, checked, careful=False, attempt=1)
                unit.append([_new(work, operation, events), *self._executor.record(work, applied, planned)])
        except (*NOT_THE_CHUNKS_FAULT, ConflictError, LateAppendError):
            raise
        except Exception:  # noqa: BLE001 - whatever the action raises, the chunk is tried on its own
            return False
        return True

    def _operation(self, work: Work) -> Operation:
        return fold(recorded.event for recorded in self._store.stream(work.operation))


def _plan(definition: Definition, items: int) -> OperationPlanned:
    return OperationPlanned(
        items=items,
        blocks=1,
        manifest_digest="",
        steps=tuple(step.name for step in definition.steps),
        chunk_items=definition.steps[0].chunk_items,
    )


def _only_chunk(work: Work, step: str, items: int) -> Work:
    return Work(
        work.operation, work.tenant, work.kind, work.definition_version, Task.APPLY, step, 1, items, work.priority
    )


def _new(work: Work, operation: Operation, events: tuple[Event, ...]) -> NewEvents:
    context = Context(work.operation, work.tenant, work.kind, ACTOR)
    return NewEvents(work.operation, operation.version, events, context)
