"""`haulage item` and `haulage rejects`: what happened to items, one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.domain.manifest import InputFacts
from haulage.infra.bootstrap import Parts
from haulage.infra.cli import wording
from haulage.infra.cli.access import reading
from haulage.infra.cli.failures import UsageError
from haulage.infra.cli.names import resolve
from haulage.infra.cli.rejects_export import export_rejects, messages
from haulage.infra.cli.terminal import emit, hint, write, write_facts
from haulage.infra.files.source import FORMATS
from haulage.infra.postgres import views
from haulage.infra.postgres.requests import request
from haulage.infra.settings import Settings
from haulage.projections.ledger import ItemOutcome


# -- item --------------------------------------------------------------------------------------------------------------
def item(settings: Settings, operation: str, ordinal: int, *, as_json: bool) -> None:
    """What became of one item in each step, and what it was."""
    with reading(settings) as parts, parts.database.connection() as connection:
        found = resolve(connection, operation)
        facts, content = _content(parts, connection, found, ordinal)
        sentences = messages(parts.definitions, request(connection, found))
        outcomes = [_outcome(o, sentences) for o in views.ledger_item(connection, found, ordinal)]
    document = {
        "operation": str(found),
        "ordinal": ordinal,
        "row": facts.row_number(ordinal),
        "outcomes": outcomes,
        "item": _named(content, facts),
    }
    if as_json:
        emit(document)
    else:
        _write(document)


def _content(parts: Parts, connection: Connection[Any], operation: UUID, ordinal: int) -> tuple[InputFacts, Any]:
    facts = parts.manifest.facts(connection, operation)
    if facts is None:
        raise NotFoundError(f"Operation {operation} has no items: it has not been planned, or they are gone.")
    try:
        return facts, parts.manifest.items(connection, operation, ordinal, ordinal).contents[0]
    except NotFoundError:
        summary = parts.manifest.summary(connection, operation)
        there_are = f"there are {summary.items:,}" if summary else "it is still being planned"
        raise NotFoundError(f"Operation {operation} has no item {ordinal:,}; {there_are}.") from None


def _outcome(found: ItemOutcome, sentences: Mapping[str, str]) -> dict[str, Any]:
    chunk, outcome = found.chunk, found.outcome
    return {
        "step": found.step,
        "outcome": str(outcome.kind),
        "code": outcome.code or None,
        "field": outcome.field,
        "message": sentences.get(outcome.code),
        "undone": found.undone,
        "left": found.left,
        "chunk": {"first": chunk.first, "last": chunk.last, "attempt": chunk.attempt},
        "position": str(chunk.position),
        "at": chunk.at.isoformat(),
    }


def _named(content: Any, facts: InputFacts) -> Any:
    """An item by its columns where it has as many values as there are columns, else as it is."""
    if isinstance(content, list) and facts.header and len(content) == len(facts.header):
        return dict(zip(facts.header, content, strict=True))
    return content


def _write(document: dict[str, Any]) -> None:
    write(f"item {document['ordinal']:,} (row {document['row']:,} of the input) of {document['operation']}")
    if not document["outcomes"]:
        write("  nothing has happened to it yet")
    for outcome in document["outcomes"]:
        about = f" in `{outcome['field']}`" if outcome["field"] else ""
        reason = f": {outcome['code']}{about}" if outcome["code"] else ""
        write(f"  {outcome['step']}: {outcome['outcome']}{reason}{_undone(outcome)}")
        if outcome["message"]:
            write(f"    {outcome['message']}")
        chunk = outcome["chunk"]
        write(
            f"    in the chunk {chunk['first']:,} to {chunk['last']:,}, position {outcome['position']}, {outcome['at']}"
        )
    write()
    content = document["item"]
    if isinstance(content, dict):
        write_facts({f"  {name}": str(value) for name, value in content.items()})
    else:
        write(f"  {wording.raw(content)}")


def _undone(outcome: dict[str, Any]) -> str:
    if outcome["undone"] is None:
        return ""
    return ", later undone" if outcome["undone"] else f", not undone: {outcome['left']}"


# -- rejects -----------------------------------------------------------------------------------------------------------
def rejects(settings: Settings, operation: str, output: Path, *, file_format: str | None, as_json: bool) -> None:
    """Write an operation's rejects to a file."""
    wanted = _format(output, file_format)
    with reading(settings) as parts:
        with parts.database.connection() as connection:
            found = resolve(connection, operation)
        exported = export_rejects(parts, found, output.absolute(), wanted)
    codes = exported.codes
    if as_json:
        emit({"operation": str(found), "file": str(exported.path), "rejects": codes.total(), "codes": dict(codes)})
        return
    write(f"{wording.items(codes.total())} in {output}")
    for reason in exported.reasons():
        write(f"  {reason}")
    hint("Each has its row, why it was rejected, and its values. Fixed, the file can be run again as it is.")


def _format(output: Path, asked: str | None) -> str | None:
    if asked is None:
        return FORMATS.get(output.suffix.lower())
    if asked not in FORMATS.values():
        raise UsageError(f"There is no format `{asked}` for rejects; it can be csv or ndjson.")
    return asked
