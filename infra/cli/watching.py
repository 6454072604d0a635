"""`haulage watch` and `haulage resume`: follow what is there already."""

from uuid import UUID, uuid4

from haulage.domain.commands import ResumeOperation
from haulage.domain.errors import NotReachableError
from haulage.domain.status import RESTS, Status
from haulage.infra.cli.access import NothingYetError, refuse_without_home
from haulage.infra.cli.bar import short
from haulage.infra.cli.exits import Exit, after_statuses
from haulage.infra.cli.failures import TimeOutError, complain
from haulage.infra.cli.follow import wait_for_view
from haulage.infra.cli.names import resolve
from haulage.infra.cli.run import conclude, follow_all, see_through
from haulage.infra.cli.running import Running, running
from haulage.infra.cli.showing import known_progress
from haulage.infra.cli.submitting import send
from haulage.infra.cli.terminal import hint
from haulage.infra.postgres import views
from haulage.infra.settings import Settings
from haulage.projections import progress

UNFINISHED_AT_ONCE = 1_000

PAUSES = (Status.PAUSING, Status.PAUSED)


def watch(settings: Settings, operation: str, *, time_out: float | None, as_json: bool) -> int:
    """Follow an operation to its end, without doing anything for it."""
    refuse_without_home(settings)
    with running(settings, bring=False) as system:
        found = _resolve(system, operation)
        if known_progress(system.parts, found).status not in RESTS and not system.up():
            hint("Nothing is up that could carry it out. `haulage up` or `haulage resume` in another terminal does.")
        return see_through(system, found, time_out=time_out, as_json=as_json)


def resume(settings: Settings, operation: str | None, *, time_out: float | None, as_json: bool) -> int:
    """Bring up what is needed, and follow `operation`, or everything unfinished, to the end.

    A pause ends only where its operation is named: somebody wanted it. The exit code is the gravest of all.
    """
    try:
        refuse_without_home(settings)
    except NothingYetError as error:
        if operation is not None:
            raise
        hint(str(error))
        return Exit.COMPLETED
    with running(settings, bring=True) as system:
        if not system.ours and not system.up():
            raise NotReachableError("No process of Haulage is at work on these servers. Start one with `haulage up`.")
        if operation is not None:
            return _resume_one(system, _resolve(system, operation), time_out, as_json)
        return _resume_all(system, time_out, as_json)


def _resume_one(system: Running, operation: UUID, time_out: float | None, as_json: bool) -> int:
    if known_progress(system.parts, operation).status in PAUSES:
        send(system, ResumeOperation(command_id=uuid4(), operation=operation))
    return see_through(system, operation, time_out=time_out, as_json=as_json)


def _resume_all(system: Running, time_out: float | None, as_json: bool) -> int:
    unfinished = _unfinished(system)
    if not unfinished:
        hint("Nothing is unfinished.")
        return Exit.COMPLETED
    try:
        ended = follow_all(system, unfinished, time_out)
    except TimeOutError as error:
        complain(f"{error} {system.afterwards(unfinished[0])}")
        return Exit.TIME_OUT
    for one in ended.values():
        conclude(system, one, as_json=as_json)
    return after_statuses(one.status for one in ended.values())


def _unfinished(system: Running) -> list[UUID]:
    """Operations that go on by themselves once something is up, newest first; the others are mentioned."""
    with system.parts.database.connection() as connection:
        head = system.parts.log.head(connection)
    wait_for_view(system.parts, progress.NAME, head)
    statuses = [status for status in Status if status not in RESTS]
    with system.parts.database.connection() as connection:
        found = views.operations(connection, views.Filters(statuses=statuses), limit=UNFINISHED_AT_ONCE)
    paused = [one.operation for one in found if one.status in PAUSES]
    if paused:
        named = f"`haulage resume {short(paused[0])}`"
        hint(f"{len(paused)} paused, and left so. {named} ends a pause.")
    return [one.operation for one in found if one.status not in PAUSES]


def _resolve(system: Running, operation: str) -> UUID:
    with system.parts.database.connection() as connection:
        return resolve(connection, operation)
