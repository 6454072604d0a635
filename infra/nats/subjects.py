"""Subjects: where each message of Haulage goes, built and read in one place.

    haulage.v1.command.<tenant>.<actor>.<verb>                request/reply
    haulage.v1.submit.<tenant>.<actor>.<verb>                 a stream
    haulage.v1.query.<tenant>.<actor>.<verb>                  request/reply
    haulage.v1.event.<tenant>.<kind>.<operation>.<event…>     a stream
    haulage.v1.progress.<tenant>.<operation>                  latest value
    haulage.v1.quarantine.<where>                             a stream: what could not be read
    haulage.v1.wake.<what>                                    between processes of Haulage

A token never comes out of a message's body, and one outside the alphabet is refused: a `.`, `*` or `>` in a tenant
would reach into another's subjects.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from haulage.domain.errors import RefusedError
from haulage.domain.identity import is_token

ROOT = "haulage.v1"
COMMANDS = f"{ROOT}.command.*.*.*"
SUBMISSIONS = f"{ROOT}.submit.>"
QUERIES = f"{ROOT}.query.*.*.*"
EVENTS = f"{ROOT}.event.>"
QUARANTINE = f"{ROOT}.quarantine.>"
WAKES = f"{ROOT}.wake.*"

_TOPIC = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\.v[0-9]+")
_ADDRESSED = ("command", "submit", "query")


class SubjectError(RefusedError):
    """A subject that is not one of ours, or a token that can't stand in one."""

    code = "invalid"


@dataclass(frozen=True, slots=True)
class Address:
    """What the subject of a command, a submission or a query says: who asks, and what for."""

    tenant: str
    actor: str
    verb: str


@dataclass(frozen=True, slots=True)
class EventAddress:
    """What the subject of an event says. `name` is the topic without its version, such as `operation.completed`."""

    tenant: str
    kind: str
    operation: UUID
    name: str


def command(tenant: str, actor: str, verb: str) -> str:
    """Where a command is requested."""
    return _addressed("command", tenant, actor, verb)


def submission(tenant: str, actor: str, verb: str) -> str:
    """Where a command is left, to be handled later."""
    return _addressed("submit", tenant, actor, verb)


def query(tenant: str, actor: str, verb: str) -> str:
    """Where a question is asked."""
    return _addressed("query", tenant, actor, verb)


def event(tenant: str, kind: str, operation: UUID, topic: str) -> str:
    """Where an event is published. All versions of a topic share the subject; the message's `ce-type` tells."""
    if not _TOPIC.fullmatch(topic):
        raise SubjectError(f"`{_short(topic)}` is no topic: it should look like operation.completed.v1")
    name = topic.rpartition(".")[0]
    return f"{ROOT}.event.{_token('tenant', tenant)}.{_token('kind', kind)}.{operation}.{name}"


def events_of(tenant: str, kind: str | None = None, operation: UUID | None = None) -> str:
    """What to subscribe to for the events of a tenant, of one kind, of one operation."""
    kinds = _token("kind", kind) if kind else "*"
    return f"{ROOT}.event.{_token('tenant', tenant)}.{kinds}.{operation or '*'}.>"


def progress(tenant: str, operation: UUID) -> str:
    """Where progress is published."""
    return f"{ROOT}.progress.{progress_key(tenant, operation)}"


def progress_key(tenant: str, operation: UUID) -> str:
    """The key of an operation's progress in the bucket."""
    return f"{_token('tenant', tenant)}.{operation}"


def quarantine(where: str) -> str:
    """Where a message goes that could not be read; `where` it came from."""
    return f"{ROOT}.quarantine.{_token('place', where)}"


def wake(what: str) -> str:
    """Where processes tell each other that there is something new in `what`."""
    return f"{ROOT}.wake.{_token('wake-up', what)}"


def parse_address(subject: str) -> Address:
    """Who asks for what, from the subject of a command, a submission or a query."""
    tokens = subject.split(".")
    if len(tokens) != 6 or ".".join(tokens[:2]) != ROOT or tokens[2] not in _ADDRESSED:
        raise SubjectError(
            f"the subject `{_short(subject)}` should be {ROOT}.command.<tenant>.<actor>.<verb>, or submit or query"
        )
    return Address(_token("tenant", tokens[3]), _token("actor", tokens[4]), _token("verb", tokens[5]))


def parse_event(subject: str) -> EventAddress:
    """What the subject of an event says."""
    tokens = subject.split(".", 6)
    if len(tokens) != 7 or tokens[:3] != [*ROOT.split("."), "event"]:
        raise SubjectError(f"the subject `{_short(subject)}` is not that of an event")
    try:
        operation = UUID(tokens[5])
    except ValueError:
        raise SubjectError(f"the subject `{_short(subject)}` names no operation: its sixth token is no UUID") from None
    return EventAddress(_token("tenant", tokens[3]), _token("kind", tokens[4]), operation, tokens[6])


def _addressed(what: str, tenant: str, actor: str, verb: str) -> str:
    return f"{ROOT}.{what}.{_token('tenant', tenant)}.{_token('actor', actor)}.{_token('verb', verb)}"


def _token(what: str, text: str) -> str:
    if not is_token(text):
        raise SubjectError(
            f"the {what} `{_short(text)}` should be up to 63 of a-z, 0-9, _ and -, beginning with a letter or digit"
        )
    return text


def _short(text: str) -> str:
    """Fit for a sentence, however long somebody made it."""
    return text if len(text) <= 80 else f"{text[:80]}…"
