"""Sending commands: what was typed, as a command on the bus, and the answer as an id or an error."""

import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from haulage.domain.commands import Command, Input, StartOperation
from haulage.domain.errors import HaulageError, InputError, NotReachableError, RefusedError
from haulage.infra.cli.exits import Exit, after_error
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.running import Running, may_bring
from haulage.infra.cli.terminal import hint
from haulage.infra.files.source import FORMATS
from haulage.infra.nats.command_client import CommandClient
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import Reply
from haulage.infra.nats.objects import InputObjects
from haulage.infra.settings import Settings

ANSWER_SECONDS = 15.0
FIRST_ANSWER_SECONDS = 90.0
"""Longer, where the process that answers is only being started."""


@dataclass(frozen=True, slots=True)
class Order:
    """An operation as it was asked for on the command line.

    `file_format` is `csv` or `ndjson`, None: as the file's name says. `upload` None: as fits the servers.
    """

    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)
    input_file: Path | None = None
    file_format: str | None = None
    key: str | None = None
    priority: int = 0
    upload: bool | None = None


def check(settings: Settings, order: Order) -> None:
    """What can be refused before anything is started; raises RefusedError."""
    if may_bring(settings):
        # Whoever takes the command in has the definitions that we have.
        from haulage.sagas.catalogue import CATALOGUE
        from haulage.sagas.definition import Definitions

        Definitions(CATALOGUE).latest(order.kind)
    if order.file_format not in (None, *FORMATS.values()):
        raise UsageError(f"There is no format `{order.file_format}` for inputs; it can be csv or ndjson.")
    if order.input_file is not None and (may_bring(settings) or _uploads(settings, order)):
        check_readable(order.input_file)


def check_readable(path: Path) -> None:
    """Raise InputError where `path` is no file that can be read."""
    if not path.exists():
        raise InputError(f"There is no file {path}. Check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a directory. Name a file in it.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} can't be read: permission denied. Change its rights, or run as somebody who may.")


def start(system: Running, order: Order) -> UUID:
    """Start the operation, or find the one that has the same key. Raises as `send`, and InputError."""
    settings = system.settings
    with closing(_bus(system)) as bus:
        given = _input(bus, settings, order)
        command = StartOperation(
            command_id=uuid4(),
            operation=new_operation_id(),
            kind=order.kind,
            parameters=order.parameters,
            input=given,
            key=order.key,
            priority=order.priority,
        )
        found = _send(bus, system, command)
    if found != command.operation:
        hint(f"The key `{order.key}` is that of operation {found}, which is followed now.")
    return found


def new_operation_id() -> UUID:
    """An id that begins with its time (UUIDv7, RFC 9562, section 5.7): ids ascend, as do the keys made from them."""
    random = int.from_bytes(os.urandom(10))
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1)


def send(system: Running, command: Command) -> UUID:
    """Send a command; the operation it is about. Raises RefusedError with the answer's sentence, NotReachableError."""
    with closing(_bus(system)) as bus:
        return _send(bus, system, command)


def _bus(system: Running) -> Bus:
    return Bus(system.urls.nats, name="haulage-cli", credentials=system.urls.nats_credentials).open()


def _send(bus: Bus, system: Running, command: Command) -> UUID:
    settings = system.settings
    seconds = FIRST_ANSWER_SECONDS if system.ours else ANSWER_SECONDS
    reply = CommandClient(bus).request(settings.tenant, settings.actor, command, seconds)
    if not reply.ok:
        raise _refusal(reply)
    return reply.operation or command.operation


def _refusal(reply: Reply) -> HaulageError:
    match after_error(reply.code):
        case Exit.REFUSED:
            return RefusedError(reply.message)
        case Exit.NOT_REACHABLE:
            return NotReachableError(reply.message)
        case _:
            return HaulageError(reply.message)


def _input(bus: Bus, settings: Settings, order: Order) -> Input | None:
    if order.input_file is None:
        return None
    if not _uploads(settings, order):
        return Input(path=str(order.input_file.absolute()), format=order.file_format)
    hint(f"Handing {order.input_file} over …")
    return Input(object=InputObjects(bus).upload(order.input_file))


def _uploads(settings: Settings, order: Order) -> bool:
    return not may_bring(settings) if order.upload is None else order.upload
