"""`haulage list`, `show` and `timeline`: what the views know."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.domain.ports import Request
from haulage.domain.status import Status
from haulage.infra.bootstrap import Parts
from haulage.infra.cli import wording
from haulage.infra.cli.access import NothingYetError, reading
from haulage.infra.cli.bar import remaining
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.follow import progress_from_log
from haulage.infra.cli.names import resolve
from haulage.infra.cli.terminal import emit, emit_lines, hint, write, write_facts, write_table
from haulage.infra.cli.times import parse_time
from haulage.infra.postgres import views
from haulage.infra.settings import Settings
from haulage.projections.document import document
from haulage.projections.progress import Progress
from haulage.projections.sentences import sentence
from haulage.projections.timeline import Entry


# -- list --------------------------------------------------------------------------------------------------------------
def filters(tenant: str | None, kind: str | None, statuses: list[str], since: str | None) -> views.Filters:
    """What to list, from what was typed; UsageError for a status or a time that is none."""
    wanted = [status.replace("-", "_").replace(" ", "_").lower() for status in statuses]
    if unknown := [status for status in wanted if status not in list(Status)]:
        raise UsageError(f"There is no status `{unknown[0]}`; the statuses are: {', '.join(Status)}.")
    return views.Filters(tenant, kind, [Status(status) for status in wanted], parse_time(since) if since else None)


def list_operations(settings: Settings, wanted: views.Filters, *, limit: int, after: str | None, as_json: bool) -> None:
    """One page, newest first. Nothing, with a hint, where there is no home."""
    try:
        with reading(settings) as parts, parts.database.connection() as connection:
            found = views.operations(connection, wanted, _page_key(connection, after), limit)
    except NothingYetError as error:
        hint(str(error))
        return
    if as_json:
        emit_lines(map(document, found))
    elif found:
        _write_list(found)
    else:
        hint("There are no such operations.")
    if len(found) == limit:
        hint(f"There may be more: add --after {found[-1].operation}")


def _page_key(connection: Connection[Any], after: str | None) -> views.PageKey | None:
    if after is None:
        return None
    progress = views.progress(connection, resolve(connection, after))
    if progress is None:
        raise NotFoundError(f"The views do not know the operation `{after}` yet. Repeat in a moment.")
    return views.page_key(progress)


def _write_list(found: list[Progress]) -> None:
    columns = ["operation", "kind", "status", "items", "rejected", "requested", "tenant", "actor"]
    rows = [
        [
            str(p.operation),
            p.kind,
            p.status,
            wording.number(p.total),
            f"{p.rejected:,}" if p.rejected else "",
            wording.when(p.requested_at),
            p.tenant,
            p.actor,
        ]
        for p in found
    ]
    write_table(columns, rows, right=["items", "rejected"])


# -- show --------------------------------------------------------------------------------------------------------------
def show(settings: Settings, operation: str, *, as_json: bool) -> None:
    """One operation: its progress, and what was asked for."""
    with reading(settings) as parts:
        with parts.database.connection() as connection:
            found = resolve(connection, operation)
        progress, request = known_progress(parts, found), parts.store.request(found)
    if as_json:
        asked = {"key": request.key, "parameters": request.parameters, "input": request.input}
        emit(document(progress) | asked)
    else:
        write_progress(progress, request)


def known_progress(parts: Parts, operation: UUID) -> Progress:
    """From the view; from the operation's own stream where the view does not know it yet."""
    with parts.database.connection() as connection:
        found = views.progress(connection, operation)
    found = found or progress_from_log(parts, operation)
    if found is None:
        raise NotFoundError(f"The log has no events of operation {operation}.")
    return found


def write_progress(progress: Progress, request: Request | None = None, as_of: datetime | None = None) -> None:
    """The facts of an operation, for people."""
    facts = {
        "operation": str(progress.operation),
        "as of": wording.when(as_of) if as_of else "",
        "kind": f"{progress.kind} (version {progress.definition_version})",
        "status": wording.status(progress.status),
        "why": progress.error or "",
        "tenant": progress.tenant,
        "actor": progress.actor,
        "priority": _unless_zero(progress.priority),
        "step": f"{progress.step} (of {', '.join(progress.steps)})" if progress.step else "",
        "items": "" if progress.total is None else f"{progress.total:,}",
        "succeeded": f"{progress.succeeded:,}",
        "skipped": _unless_zero(progress.skipped),
        "rejected": _unless_zero(progress.rejected),
        "compensated": _unless_zero(progress.compensated),
        "left as they were": _unless_zero(progress.conflicting),
        "chunks": _unless_zero(progress.chunks),
        "failed attempts": _unless_zero(progress.failed_attempts),
        "splits": _unless_zero(progress.splits),
        "rate": wording.rate(progress.pace.rate),
        "remaining": remaining(progress, as_of or progress.updated_at),
        "working": wording.duration(progress.working_seconds),
        "requested": wording.when(progress.requested_at),
        "started": wording.when(progress.started_at) if progress.started_at else "",
        "ended": wording.when(progress.ended_at) if progress.ended_at else "",
    }
    write_facts(facts | (_asked(request) if request else {}))


def _asked(request: Request) -> dict[str, str]:
    given = request.input or {}
    return {
        "input": str(given.get("path") or given.get("object") or ""),
        "parameters": json.dumps(request.parameters, ensure_ascii=False) if request.parameters else "",
        "key": request.key or "",
    }


def _unless_zero(count: int) -> str:
    return f"{count:,}" if count else ""


# -- timeline ----------------------------------------------------------------------------------------------------------
def timeline(settings: Settings, operation: str, *, as_json: bool) -> None:
    """An operation's history, condensed to what a person can follow."""
    with reading(settings) as parts, parts.database.connection() as connection:
        entries = views.timeline(connection, resolve(connection, operation))
    if as_json:
        emit_lines(map(_entry_document, entries))
        return
    for entry in entries:
        write(f"{wording.when(entry.at)}  {entry.actor:<12}  {sentence(entry)}")


def _entry_document(entry: Entry) -> dict[str, Any]:
    return {
        "position": str(entry.position),
        "last_position": str(entry.last_position),
        "at": entry.at.isoformat(),
        "last_at": entry.last_at.isoformat(),
        "actor": entry.actor,
        "topic": entry.topic,
        "step": entry.step or None,
        "events": entry.events,
        "detail": entry.detail,
        "sentence": sentence(entry),
    }
