"""Commands: what people and programs ask of an operation. Imperative, frozen, the body of a message on the bus.

Who asks (tenant, actor) is not in the body: the bus takes it from the subject, which the sender's credentials pin.
"""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from haulage.domain.identity import Token

Reason = Annotated[str, Field(max_length=500)]


class Input(BaseModel):
    """Where the items come from: a file on a worker's machine, or an object in the bus's object store.

    `format` is `csv` or `ndjson`; left out, the name's ending tells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    object: str | None = None
    format: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "Input":
        if (self.path is None) == (self.object is None):
            raise ValueError("an input has either a `path` or an `object`")
        return self

    @property
    def name(self) -> str:
        """The path or the object's name."""
        return self.path or self.object or ""


class Command(BaseModel):
    """What all commands have: an id that makes a repeat harmless, and the operation they are about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: UUID
    operation: UUID


class StartOperation(Command):
    """Start an operation of `kind`. With a `key`, a repeat within the tenant finds the operation of the first time.

    `priority`: higher goes first, 0 is ordinary.
    """

    kind: Token
    parameters: dict[str, Any] = {}
    input: Input | None = None
    key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


class PauseOperation(Command):
    """Stop after the chunks in flight."""

    reason: Reason | None = None


class ResumeOperation(Command):
    """Go on after a pause."""

    reason: Reason | None = None


class CancelOperation(Command):
    """Stop after the chunks in flight, for good; what was applied stays."""

    reason: Reason | None = None


class RollBackOperation(Command):
    """Stop after the chunks in flight and compensate what was applied, newest first."""

    reason: Reason | None = None


class CloseOperation(Command):
    """A person has seen to what a rollback had to leave."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


VERBS: dict[str, type[Command]] = {
    "start": StartOperation,
    "pause": PauseOperation,
    "resume": ResumeOperation,
    "cancel": CancelOperation,
    "roll-back": RollBackOperation,
    "close": CloseOperation,
}
"""The last token of a command's subject, and the command in its body."""
