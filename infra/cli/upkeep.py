"""`haulage migrate` and `haulage projections`."""

from typing import Any

from haulage.domain.errors import HaulageError
from haulage.infra.cli import wording
from haulage.infra.cli.access import NothingYetError, reading
from haulage.infra.cli.terminal import emit, emit_lines, hint, write, write_table
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.history import settle_history
from haulage.infra.postgres.migrate import migrate as apply_migrations
from haulage.infra.postgres.views.places import ProjectionStatus
from haulage.infra.projector import Projector
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings


def migrate(settings: Settings, *, as_json: bool) -> None:
    """Apply the migrations that are missing; a repeat does nothing.

    With HAULAGE_POSTGRES_URL alone, its role will own the log as well, which `haulage doctor` objects to.
    """
    with Servers(settings) as urls:
        applied = apply_migrations(urls.postgres_admin or urls.postgres_app, urls.postgres_app)
        with Database(urls.postgres_app, size=1) as database, database.connection() as connection:
            settle_history(connection)
    if as_json:
        emit({"applied": applied})
        return
    for name in applied:
        write(name)
    hint(f"{len(applied)} applied." if applied else "There was nothing to apply.")


def list_projections(settings: Settings, *, as_json: bool) -> None:
    """Each view, and how far it is."""
    try:
        with reading(settings) as parts:
            found = Projector(parts.database, parts.log).status()
    except NothingYetError as error:
        hint(str(error))
        return
    if as_json:
        emit_lines(map(_document, found))
        return
    write_table(["projection", "position", "events behind", "state"], map(_row, found), right=_NUMBERS)


def rebuild_projection(settings: Settings, name: str, *, as_json: bool) -> None:
    """Empty a view and take the whole log in again, beside whoever else does so."""
    with reading(settings) as parts:
        projector = Projector(parts.database, parts.log)
        projector.rebuild(name)
        hint(f"`{name}` is empty, and takes the log in again …")
        events = projector.catch_up()
        found = next(one for one in projector.status() if one.name == name)
    if found.stopped_error:
        raise HaulageError(found.stopped_error)
    if as_json:
        emit(_document(found))
    else:
        write(f"{name}: rebuilt, {events:,} events, position {found.position}")


_NUMBERS = ("position", "events behind")


def _row(found: ProjectionStatus) -> list[str]:
    state = f"stopped {wording.when(found.stopped_at)}: {found.stopped_error}" if found.stopped_error else "goes on"
    return [found.name, str(found.position), f"{found.behind_events:,}", state]


def _document(found: ProjectionStatus) -> dict[str, Any]:
    stopped = {
        "position": str(found.stopped_position),
        "at": found.stopped_at.isoformat() if found.stopped_at else None,
        "error": found.stopped_error,
    }
    return {
        "name": found.name,
        "position": str(found.position),
        "behind_events": found.behind_events,
        "behind_seconds": round(found.behind_seconds, 3),
        "stopped": stopped if found.stopped_error else None,
    }
