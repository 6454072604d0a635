"""Messages: what goes over the bus, as values; headers as CloudEvents 1.0 in binary mode, bodies as JSON.

`Received` and `Reply` are what the bus and the intake have in common.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import orjson
import pydantic_core
from pydantic import BaseModel, ValidationError

from haulage.domain.commands import VERBS, Command
from haulage.domain.errors import RefusedError
from haulage.infra.nats.subjects import Address

Headers = Mapping[str, str]
Model = TypeVar("Model", bound=BaseModel)

POSITION = "Haulage-Position"
EPOCH = "Haulage-Epoch"
REPLY_TO = "Haulage-Reply-To"
REASON = "Haulage-Reason"
ORIGINAL_SUBJECT = "Haulage-Subject"
MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST_MESSAGE_ID = "Nats-Expected-Last-Msg-Id"
EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"

SOURCE = "/haulage"
JSON = "application/json"
_TRACE = ("traceparent", "tracestate")

TRANSIENT = frozenset({"busy", "not_reachable", "disk_full", "not_settled", "conflict", "late_append", "error"})
"""Codes of replies after which the same command, sent again, may well succeed."""

# An answer goes only to an inbox. To any other subject it would be published with our rights, not the sender's:
# `$JS.API.STREAM.PURGE.…` as the reply subject would empty a stream.
_INBOX = re.compile(r"_INBOX[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+")


class MessageError(RefusedError):
    """A body that can't be read; the sentence names the field."""

    code = "invalid"


@dataclass(frozen=True)
class Received:
    """A command as it came. `body` is JSON in bytes, and who sent it is from the subject."""

    tenant: str
    actor: str
    verb: str
    body: bytes
    headers: Headers = field(default_factory=dict)

    @cached_property
    def command(self) -> Command:
        """The command in the body, parsed once; `MessageError` names what is wrong with it."""
        command = VERBS.get(self.verb)
        if command is None:
            raise MessageError(f"there is no command `{self.verb}`; the commands are: {', '.join(VERBS)}")
        return parse(command, self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the sender is told, after the commit. `operation` is the one concerned, `status` where it stands.

    Where `ok` is false, `code` says why for programs and `message` for people.
    """

    ok: bool
    operation: UUID | None = None
    status: str | None = None
    code: str = ""
    message: str = ""

    @property
    def final(self) -> bool:
        """Whether the same command, sent again, would be answered alike."""
        return self.ok or self.code not in TRANSIENT

    def to_json(self) -> bytes:
        """The body of the answer."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, body: bytes) -> "Reply":
        """Read an answer; fields of a later version are passed over. `MessageError` for anything else."""
        try:
            fields = orjson.loads(body)
            operation = fields.get("operation")
            return cls(
                ok=fields["ok"] is True,
                operation=UUID(operation) if operation else None,
                status=fields.get("status"),
                code=fields.get("code") or "",
                message=fields.get("message") or "",
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MessageError(f"the answer can't be read: {error}") from None


def refusal(error: RefusedError) -> Reply:
    """The answer to what is not accepted."""
    return Reply(ok=False, code=error.code, message=str(error))


def parse(model: type[Model], body: bytes) -> Model:
    """`body` as a `model`. `MessageError` names the field, and never quotes a value: it may be somebody's name."""
    try:
        # Without NaN and Infinity: JSON has none, and what is kept of the body must go back into JSON.
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MessageError(f"the body is not JSON: {str(error)[:200]}") from None
    if b"\\u0000" in body and _holds_nul(value):
        raise MessageError("the body holds a NUL character, which can't be stored: leave it out")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise MessageError(_problems(error)) from None


def cloud_event(id: object, type: str, source: str, subject: object, time: datetime | None = None) -> dict[str, str]:
    """The headers of a CloudEvents message in binary mode. `time` is left out where no clock is to be trusted."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(id),
        "ce-source": source,
        "ce-type": type,
        "ce-subject": str(subject),
        "ce-datacontenttype": JSON,
    }
    if time is not None:
        headers["ce-time"] = time.isoformat()
    return headers


def command_message(command: Command, headers: Headers | None = None) -> tuple[str, dict[str, str], bytes]:
    """Verb, headers and body of a command. `headers` (a `traceparent`, say) go along."""
    verb = verb_of(command)
    made = cloud_event(command.command_id, f"command.{verb}.v1", SOURCE, command.operation)
    return verb, dict(headers or {}) | made, command.model_dump_json(exclude_none=True).encode()


def verb_of(command: Command) -> str:
    """The last token of the command's subject."""
    return next(verb for verb, model in VERBS.items() if type(command) is model)


def received(address: Address, body: bytes, headers: Headers | None) -> Received:
    """A command as it came to `address`."""
    return Received(address.tenant, address.actor, address.verb, body, headers or {})


def trace_of(headers: Headers | None) -> dict[str, str]:
    """The W3C trace context among `headers`, to be passed on; its names are in lower case, however they came."""
    return {name.lower(): value for name, value in (headers or {}).items() if name.lower() in _TRACE}


def is_inbox(subject: str | None) -> bool:
    """Whether an answer may be published there."""
    return bool(subject) and len(subject or "") <= 200 and _INBOX.fullmatch(subject or "") is not None


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    sentences = [f"the field `{_place(problem['loc'])}`: {problem['msg'][:200]}" for problem in found[:5]]
    more = [f"and {len(found) - 5} more"] if len(found) > 5 else []
    return "; ".join([*sentences, *more])


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(str(part)[:60] for part in location) or "(the whole body)"
