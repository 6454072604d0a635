"""The intake: takes commands in, a group at a time, each with its answer after the commit.

Crash story. One transaction for a group: receipts, requests, the events decided, the first work. The answers are given
after the commit.
1. Died before the commit: nobody was answered; the senders repeat, with the same command ids.
2. Died after it: the senders repeat too, and get the receipts' answers; nothing happens twice.
3. A group that meets a conflict is redone one by one, so that one stale command never costs the others.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from haulage.domain.commands import Command, Input, StartOperation
from haulage.domain.errors import ConflictError, LateAppendError, NotFoundError, RefusedError
from haulage.domain.event import Context, NewEvents
from haulage.domain.operation import Operation, OperationRequested, decide, decide_request, fold
from haulage.domain.ports import Receipt, Request, Store, Unit, Waker
from haulage.domain.work import Task, Work
from haulage.sagas.definition import Definition, Definitions

TRIES = 5
"""How often a single command that meets a conflict is decided anew before its sender is asked to repeat it."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A command with who sent it. `verb` is its name on the bus."""

    tenant: str
    actor: str
    verb: str
    command: Command


class Answer(BaseModel):
    """What the sender is told. `operation` is the one concerned: with a repeated key, that of the first time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    operation: UUID | None = None
    status: str | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What a command leads to, before any of it is written."""

    answer: Answer
    events: NewEvents | None = None
    request: Request | None = None
    work: Work | None = None


class Intake:
    """Decides commands and stores what they lead to. Any number may run side by side."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        waker: Waker,
        *,
        new_salt: Callable[[], bytes],
        check_input: Callable[[Input], None],
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._waker = waker
        self._new_salt = new_salt
        self._check_input = check_input

    def handle(self, group: Sequence[Submitted]) -> list[Answer]:
        """One answer for each command, in their order, all committed. A refusal is an answer, not an exception."""
        if len(group) > 1 and not _collide(group):
            try:
                return self._together(group)
            except (ConflictError, LateAppendError):
                pass  # one by one, then
        return [self._alone(submitted) for submitted in group]

    def _alone(self, submitted: Submitted) -> Answer:
        for _ in range(TRIES):
            try:
                return self._together([submitted])[0]
            except (ConflictError, LateAppendError):
                continue  # decided anew, on what the others did
        return Answer(ok=False, code="busy", message="The operation keeps changing just now. Send the command again.")

    def _together(self, group: Sequence[Submitted]) -> list[Answer]:
        receipts = self._store.receipts([s.command.command_id for s in group])
        keyed = self._store.requests_by_key(_keys(group))
        new = [s for s in group if s.command.command_id not in receipts]
        answers = {command: Answer.model_validate(receipt.reply) for command, receipt in receipts.items()}
        if new:
            with self._store.begin() as unit:
                accepted = {s.command.command_id: self._decide(unit, s, keyed) for s in new}
                _write(unit, new, accepted)
            answers |= {command: decided.answer for command, decided in accepted.items()}
            self._waker.wake("work")
            self._waker.wake("log")
        return [answers[s.command.command_id] for s in group]

    def _decide(self, unit: Unit, submitted: Submitted, keyed: dict[tuple[str, str], Request]) -> _Accepted:
        try:
            if isinstance(submitted.command, StartOperation):
                return self._start(unit, submitted, submitted.command, keyed)
            return self._steer(submitted)
        except RefusedError as error:
            return _Accepted(Answer(ok=False, code=error.code, message=str(error)))

    def _start(
        self, unit: Unit, submitted: Submitted, command: StartOperation, keyed: dict[tuple[str, str], Request]
    ) -> _Accepted:
        definition = self._definitions.latest(command.kind)
        parameters = _validated(definition, command)
        if command.input:
            self._check_input(command.input)
        given = command.input.model_dump(exclude_none=True) if command.input else None
        operation = self._operation(command.operation)
        before = keyed.get((submitted.tenant, command.key)) if command.key else None
        if before is None and operation.exists:
            before = self._store.request(command.operation)
        if before:
            return _repeated(submitted.tenant, command, before, given)
        for step in definition.steps:
            step.action.verify(unit.participant(step.action.participant_name), parameters)
        request = Request(
            operation=command.operation,
            tenant=submitted.tenant,
            kind=command.kind,
            definition_version=definition.version,
            actor=submitted.actor,
            parameters=command.parameters,
            input=given,
            key=command.key,
            salt=self._new_salt(),
        )
        requested = OperationRequested(
            definition_version=definition.version, parameters_digest=digest(request), priority=command.priority
        )
        events = decide_request(operation, requested)
        return _Accepted(
            Answer(ok=True, operation=command.operation, status="accepted"),
            events=NewEvents(command.operation, 0, events, _context(request)),
            request=request,
            work=_plan(request, command.priority),
        )

    def _steer(self, submitted: Submitted) -> _Accepted:
        command = submitted.command
        request = self._store.request(command.operation)
        if request.tenant != submitted.tenant:
            raise NotFoundError(f"there is no operation {command.operation}")
        operation = self._operation(command.operation)
        events = decide(operation, command)
        context = Context(command.operation, request.tenant, request.kind, submitted.actor)
        status = fold(events, operation).status
        return _Accepted(
            Answer(ok=True, operation=command.operation, status=status),
            events=NewEvents(command.operation, operation.version, events, context) if events else None,
        )

    def _operation(self, operation: UUID) -> Operation:
        return fold(recorded.event for recorded in self._store.stream(operation))


def digest(request: Request) -> str:
    """SHA-256, as hex, of the salt and the canonical JSON of parameters and input: what the log knows of them."""
    text = json.dumps([request.parameters, request.input], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(request.salt + text.encode()).hexdigest()


def _validated(definition: Definition, command: StartOperation) -> Any:
    if definition.columns and command.input is None:
        raise RefusedError(f"`{definition.kind}` needs an input file. Give one with --input FILE.")
    if not definition.columns and command.input is not None:
        raise RefusedError(f"`{definition.kind}` takes no input file. Leave it out.")
    try:
        return definition.parameters.model_validate(command.parameters)
    except ValidationError as error:
        problems = "; ".join(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors(include_input=False))
        raise RefusedError(f"parameters of `{definition.kind}` that can't be used: {problems}") from None


def _repeated(tenant: str, command: StartOperation, before: Request, given: dict[str, Any] | None) -> _Accepted:
    """The answer of the first time, where the key or the operation's id was used before, for the same."""
    asked = (tenant, command.kind, command.parameters, given)
    if (before.tenant, before.kind, before.parameters, before.input) == asked:
        return _Accepted(Answer(ok=True, operation=before.operation, status="accepted"))
    if before.operation == command.operation:
        raise RefusedError(f"the id {command.operation} belongs to another operation. Use another id.")
    raise RefusedError(
        f"the key `{command.key}` belongs to operation {before.operation}, which has another kind, other parameters"
        " or another input. Use another key, or repeat the command as it was."
    )


def _write(unit: Unit, new: Sequence[Submitted], accepted: dict[UUID, _Accepted]) -> None:
    decided = [accepted[s.command.command_id] for s in new]
    unit.add_requests([d.request for d in decided if d.request])
    unit.append([d.events for d in decided if d.events])
    unit.enqueue([d.work for d in decided if d.work])
    # A refusal leaves no receipt: what was refused now (an unknown organization, say) may be accepted later.
    unit.add_receipts(
        [
            Receipt(s.command.command_id, d.answer.operation, s.verb, d.answer.model_dump(mode="json"))
            for s, d in zip(new, decided, strict=True)
            if d.answer.operation
        ]
    )


def _plan(request: Request, priority: int) -> Work:
    return Work(
        operation=request.operation,
        tenant=request.tenant,
        kind=request.kind,
        definition_version=request.definition_version,
        task=Task.PLAN,
        priority=priority,
    )


def _context(request: Request) -> Context:
    return Context(request.operation, request.tenant, request.kind, request.actor)


def _keys(group: Sequence[Submitted]) -> list[tuple[str, str]]:
    return [(s.tenant, s.command.key) for s in group if isinstance(s.command, StartOperation) and s.command.key]


def _collide(group: Sequence[Submitted]) -> bool:
    """Whether two commands of the group are about the same thing: one must then see what the other did."""
    ids = {s.command.command_id for s in group}
    operations = {s.command.operation for s in group}
    keys = _keys(group)
    return len(ids) < len(group) or len(operations) < len(group) or len(set(keys)) < len(keys)
