"""`haulage run`: start an operation and follow it to its end."""

from pathlib import Path
from uuid import UUID

from haulage.domain.errors import HaulageError, NotReachableError
from haulage.infra.cli.bar import make_bar, short
from haulage.infra.cli.exits import AFTER_STATUS, Exit
from haulage.infra.cli.failures import TimeOutError, complain
from haulage.infra.cli.follow import follow, wait_for_view
from haulage.infra.cli.rejects_export import Exported, export_rejects
from haulage.infra.cli.running import Running, may_bring, running
from haulage.infra.cli.showing import known_progress
from haulage.infra.cli.submitting import Order, check, start
from haulage.infra.cli.summary import document, facts, headline
from haulage.infra.cli.terminal import emit, hint, write, write_facts, write_sentence
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings
from haulage.projections import ledger
from haulage.projections.progress import Progress


def run(settings: Settings, order: Order, *, time_out: float | None, detach: bool, as_json: bool) -> int:
    """Start, follow, say how it ended; the exit code."""
    check(settings, order)
    if detach:
        return _detach(settings, order, as_json)
    with running(settings, bring=True) as system:
        return see_through(system, start(system, order), time_out=time_out, as_json=as_json)


def see_through(system: Running, operation: UUID, *, time_out: float | None, as_json: bool) -> int:
    """Follow one operation to its end and say how it ended; the exit code."""
    try:
        ended = follow_all(system, [operation], time_out)[operation]
    except TimeOutError as error:
        if as_json:
            emit(document(known_progress(system.parts, operation), None))
        complain(f"{error} {system.afterwards(operation)}")
        return Exit.TIME_OUT
    return conclude(system, ended, as_json=as_json)


def follow_all(system: Running, operations: list[UUID], time_out: float | None) -> dict[UUID, Progress]:
    """Show operations until all of them rest. Ctrl-C says what becomes of them, and goes on to end the command."""
    try:
        with make_bar() as bar:
            return follow(
                system.parts,
                operations,
                bar,
                time_out=time_out,
                patience=system.settings.start_seconds,
                look_after=system.look_after,
            )
    except KeyboardInterrupt:
        for operation in operations:
            hint(f"{short(operation)}: {system.afterwards(operation)}")
        raise


def conclude(system: Running, ended: Progress, *, as_json: bool) -> int:
    """Write an ended operation's rejects to a file and its summary to standard output; the exit code."""
    rejects = _keep_rejects(system, ended)
    if as_json:
        emit(document(ended, rejects.path if rejects else None))
        if ended.error:
            complain(ended.error)
    else:
        write(headline(ended))
        write_facts({f"  {name}": value for name, value in facts(ended, rejects.path if rejects else None).items()})
        for reason in rejects.reasons() if rejects else []:
            write_sentence(reason, indent=4)
    return AFTER_STATUS[ended.status]


def _keep_rejects(system: Running, ended: Progress) -> Exported | None:
    """Write the rejects into the home, if there are any. What hinders that is said, and costs the summary nothing."""
    if not ended.rejected:
        return None
    try:
        wait_for_view(system.parts, ledger.NAME, ended.position)
        with system.parts.database.connection() as connection:
            found = system.parts.manifest.facts(connection, ended.operation)
        name = f"{ended.operation}.{found.format if found else 'csv'}"
        return export_rejects(system.parts, ended.operation, folder_in_home(system.settings, "rejects") / name)
    except HaulageError as error:
        complain(f"{error} `haulage rejects {short(ended.operation)} --output FILE` writes them elsewhere.")
        return None


def folder_in_home(settings: Settings, name: str) -> Path:
    """A folder of ours in the home, which is made where there is none; for personal data, so for its owner only."""
    try:
        if not settings.home.exists():
            settings.home.mkdir(mode=0o700, parents=True)
            (settings.home / ".gitignore").write_text("*\n")
        folder = settings.home / name
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise HaulageError(f"{settings.home / name} can't be made: {error.strerror}.") from error
    return folder


def _detach(settings: Settings, order: Order, as_json: bool) -> int:
    nothing = "Nothing is up that could carry it out. Run `haulage up` in another terminal, then this again."
    if may_bring(settings) and not Servers(settings).status().postgres.running:
        raise NotReachableError(nothing)
    with running(settings, bring=False) as system:
        if not system.up():
            raise NotReachableError(nothing)
        operation = start(system, order)
        if as_json:
            emit(document(known_progress(system.parts, operation), None))
        else:
            write(str(operation))
            hint(f"`haulage watch {short(operation)}` follows it.")
    return Exit.COMPLETED
