"""`haulage doctor`: looks for problems, and says what to do about each."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage

import psycopg

from haulage.domain.errors import HaulageError
from haulage.domain.status import RESTS, Status
from haulage.infra.bootstrap import Parts, parts
from haulage.infra.cli import wording
from haulage.infra.cli.access import NothingYetError, refuse_without_home
from haulage.infra.cli.exits import Exit
from haulage.infra.cli.running import CONTROL
from haulage.infra.cli.terminal import emit, hint, write
from haulage.infra.embedded.quarters import abandoned_folders
from haulage.infra.nats.connection import Bus
from haulage.infra.postgres import views
from haulage.infra.postgres.migrate import log_owner_problem, pending_migrations
from haulage.infra.postgres.sessions import living
from haulage.infra.projector import Projector
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings, redacted
from haulage.projections.progress import Progress

LINE_SECONDS = 30.0
"""A transaction that holds the log's line back for longer is worth a word."""

BEHIND_SECONDS = 60.0
"""A view this far behind the log, while somebody takes events in, is worth one, too."""

LEAST_FREE_BYTES = 1024**3
LEAST_FREE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `ok`, or a problem and the `advice` about it."""

    check: str
    ok: bool
    finding: str
    advice: str = ""


def doctor(settings: Settings, *, as_json: bool) -> int:
    """Run every check; 1 where one found a problem."""
    try:
        refuse_without_home(settings)
    except NothingYetError as error:
        hint(str(error))
        return Exit.COMPLETED
    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        if not as_json:
            _write(finding)
    problems = sum(not finding.ok for finding in findings)
    if as_json:
        emit({"ok": problems == 0, "checks": [asdict(finding) for finding in findings]})
    else:
        hint(f"{problems} of {len(findings)} checks found a problem." if problems else "All is well.")
    return Exit.ERROR if problems else Exit.COMPLETED


def _findings(settings: Settings) -> Iterator[Finding]:
    yield _disk(settings.home)
    yield from _leftovers()
    with ExitStack() as stack:
        try:
            urls = stack.enter_context(Servers(settings))
        except HaulageError as error:
            yield Finding("servers", False, str(error), f"See the logs in {settings.home / 'log'}.")
            return
        yield _nats(urls)
        opened = stack.enter_context(parts(urls, application_name="haulage-doctor", connections=2))
        for name, check in _DATABASE_CHECKS:
            finding = _run(name, check, opened)
            yield finding
            if name in _NEEDED and not finding.ok:
                return


def _run(name: str, check: Callable[[Parts], Finding], opened: Parts) -> Finding:
    try:
        return check(opened)
    except (HaulageError, psycopg.Error) as error:
        return Finding(name, False, str(error).strip().splitlines()[0], "Mend that first, then look again.")


# -- servers and disks -------------------------------------------------------------------------------------------------
def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    usage = disk_usage(place)
    free = f"{usage.free / 1024**3:.1f} GB free where the home is ({place})"
    if usage.free < LEAST_FREE_BYTES or usage.free < LEAST_FREE_SHARE * usage.total:
        return Finding("disk", False, free, "Free some space: a server whose disk is full stops.")
    return Finding("disk", True, free)


def _leftovers() -> Iterator[Finding]:
    """Root's data of homes that are gone: no fault of this home, and never removed unasked."""
    if folders := [str(folder) for folder, _ in abandoned_folders()]:
        finding = f"{len(folders)} data folders of homes that are gone; the first is {folders[0]}"
        yield Finding("leftovers", True, finding, "Remove those whose home was not just moved.")


def _nats(urls: ServerUrls) -> Finding:
    try:
        with Bus(urls.nats, name="haulage-doctor", credentials=urls.nats_credentials):
            return Finding("nats", True, f"reachable at {redacted(urls.nats)}")
    except HaulageError as error:
        return Finding("nats", False, str(error), "Commands and events wait until it is back; nothing is lost.")


# -- the database ------------------------------------------------------------------------------------------------------
def _postgres(opened: Parts) -> Finding:
    with opened.database.connect() as connection:
        version = connection.info.server_version
    return Finding("postgres", True, f"version {version // 10_000}.{version % 10_000} answers")


def _migrations(opened: Parts) -> Finding:
    with opened.database.connection() as connection:
        pending = pending_migrations(connection)
    if pending:
        return Finding("migrations", False, f"missing: {', '.join(pending)}", "Run `haulage migrate`.")
    return Finding("migrations", True, "the schema is that of this version")


def _log_owner(opened: Parts) -> Finding:
    with opened.database.connection() as connection:
        problem = log_owner_problem(connection)
    if problem:
        return Finding("log owner", False, *_split(problem))
    return Finding("log owner", True, "this role can add to the log, and not change its past")


def _history(opened: Parts) -> Finding:
    with opened.database.connection() as connection:
        row = connection.execute("select whereabouts = haulage.whereabouts(), epoch from haulage.history").fetchone()
    if row is None or not row[0]:
        return Finding(
            "history",
            False,
            "this database was restored or failed over since Haulage last used it",
            "Start Haulage anew (`haulage up`): it makes sure that new positions come after all that were seen.",
        )
    return Finding("history", True, f"settled, epoch {row[1]}")


def _line(opened: Parts) -> Finding:
    with opened.database.connection() as connection:
        holder = opened.log.holder(connection)
    if holder is None or holder.seconds < LINE_SECONDS:
        return Finding("log's line", True, "no transaction holds readers back")
    who = f"backend {holder.backend} ({holder.application_name or 'no name'}, {holder.database})"
    return Finding(
        "log's line",
        False,
        f"{who} has had a transaction open for {wording.duration(holder.seconds)}: nothing newer can be followed",
        f"End that transaction; as an administrator: select pg_terminate_backend({holder.backend})",
    )


def _processes(opened: Parts) -> Finding:
    with opened.database.connection() as connection:
        sessions = living(connection)
        waiting = views.operations(connection, views.Filters(statuses=_AT_WORK), limit=1000)
    roles = [role for _, role, *_ in sessions]
    counted = f"{roles.count(CONTROL)} control, {roles.count('worker')} workers, {len(waiting)} to do"
    if not waiting:
        return Finding("processes", True, counted)
    if not {CONTROL, "worker"} <= set(roles):
        return Finding("processes", False, f"{counted}: nobody does them", "Run `haulage up`, or `haulage resume`.")
    return _definitions(counted, {d for *_, definitions in sessions for d in definitions}, waiting)


def _definitions(counted: str, known: set[str], waiting: list[Progress]) -> Finding:
    wanted = {f"{one.kind}/{one.definition_version}" for one in waiting}
    if missing := sorted(wanted - known):
        return Finding(
            "processes",
            False,
            f"{counted}: no worker has the definition of {', '.join(missing)}",
            "Start a worker of the version that began these operations.",
        )
    return Finding("processes", True, counted)


def _projections(opened: Parts) -> Finding:
    status = Projector(opened.database, opened.log).status()
    stopped = [one.stopped_error for one in status if one.stopped_error]
    if stopped:
        return Finding("projections", False, *_split(stopped[0]))
    behind = max(one.behind_seconds for one in status)
    if behind > BEHIND_SECONDS and _up(opened):
        late = f"a view is {wording.duration(behind)} behind the log"
        return Finding("projections", False, late, "See the log of the control process: what holds it up?")
    return Finding("projections", True, ", ".join(one.name for one in status))


def _up(opened: Parts) -> bool:
    with opened.database.connection() as connection:
        return any(role == CONTROL for _, role, *_ in living(connection))


def _split(sentences: str) -> tuple[str, str]:
    """The first sentence, which says what is wrong, and the others, which say what to do."""
    first, _, rest = sentences.partition(". ")
    return first, rest


_AT_WORK = [status for status in Status if status not in RESTS | {Status.PAUSED, Status.WAITING}]

_DATABASE_CHECKS: tuple[tuple[str, Callable[[Parts], Finding]], ...] = (
    ("postgres", _postgres),
    ("migrations", _migrations),
    ("log owner", _log_owner),
    ("history", _history),
    ("log's line", _line),
    ("processes", _processes),
    ("projections", _projections),
)

_NEEDED = ("postgres", "migrations")
"""Where these fail, the others have nothing to look at."""


def _write(finding: Finding) -> None:
    write(f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.check:<12}  {finding.finding}")
    if finding.advice:
        write(f"{'':<23}{finding.advice}")
