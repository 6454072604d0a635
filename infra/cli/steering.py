"""`haulage pause`, `cancel`, `roll-back` and `close`: ask for it, and wait until it has happened."""

import time
from collections.abc import Set
from uuid import UUID, uuid4

from haulage.domain.commands import CancelOperation, CloseOperation, Command, PauseOperation, RollBackOperation
from haulage.domain.operation import Operation, fold
from haulage.domain.status import RESTS, Status
from haulage.infra.cli.access import refuse_without_home
from haulage.infra.cli.bar import short
from haulage.infra.cli.exits import Exit
from haulage.infra.cli.failures import TimeOutError
from haulage.infra.cli.names import resolve
from haulage.infra.cli.running import Running, running
from haulage.infra.cli.submitting import send
from haulage.infra.cli.terminal import emit, hint
from haulage.infra.cli.wording import status as worded
from haulage.infra.settings import Settings

LOOK_EVERY_SECONDS = 0.1

COMMANDS: dict[str, type[PauseOperation | CancelOperation | RollBackOperation | CloseOperation]] = {
    "pause": PauseOperation,
    "cancel": CancelOperation,
    "roll-back": RollBackOperation,
    "close": CloseOperation,
}


def steer(
    settings: Settings, verb: str, operation: str, *, reason: str | None, time_out: float | None, as_json: bool
) -> int:
    """Send the command, wait for its effect, say where the operation stands then.

    Raises RefusedError where the operation's status has no place for it, TimeOutError, NotReachableError.
    """
    refuse_without_home(settings)
    with running(settings, bring=True) as system:
        with system.parts.database.connection() as connection:
            found = resolve(connection, operation)
        send(system, _command(verb, found, reason))
        state = _wait(system, found, RESTS | {Status.PAUSED}, time_out)
    if as_json:
        emit({"operation": str(found), "status": state.status, "left": state.left})
    else:
        hint(f"{short(found)}: {worded(state.status)}")
    return Exit.NEEDS_ATTENTION if state.status is Status.NEEDS_ATTENTION else Exit.COMPLETED


def _command(verb: str, operation: UUID, reason: str | None) -> Command:
    return COMMANDS[verb].model_validate({"command_id": uuid4(), "operation": operation, "reason": reason})


def _wait(system: Running, operation: UUID, statuses: Set[Status], time_out: float | None) -> Operation:
    begun = time.monotonic()
    while True:
        system.look_after()
        state = fold(recorded.event for recorded in system.parts.store.stream(operation))
        if state.status in statuses:
            return state
        if time_out is not None and time.monotonic() - begun > time_out:
            raise TimeOutError(f"Operation {operation} was still {worded(state.status)} when the time was over.")
        time.sleep(LOOK_EVERY_SECONDS)
