"""Rejected items out of the ledger, with their original values out of the manifest, into a file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection

from haulage.domain.errors import NotFoundError
from haulage.domain.manifest import MESSAGES, InputFacts
from haulage.domain.ports import Request
from haulage.infra.bootstrap import Parts
from haulage.infra.files.rejects import Reject, write_rejects
from haulage.infra.postgres import views
from haulage.infra.postgres.requests import request
from haulage.sagas.definition import Definitions

SPAN_ITEMS = 4_000
"""Rejects this near to each other are looked up together."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of rejects: how many there are by code, and the first one of each."""

    path: Path
    codes: Counter[str] = field(default_factory=Counter)
    first: dict[str, Reject] = field(default_factory=dict)

    def counting(self, rejects: Iterator[Reject]) -> Iterator[Reject]:
        """Pass `rejects` on, and take them in."""
        for found in rejects:
            self.codes[found.code] += 1
            self.first.setdefault(found.code, found)
            yield found

    def reasons(self) -> list[str]:
        """A line for each code, the most frequent first: how many, where the first is, and what to do."""
        return [f"{count:,} {code}, first in {_place(self.first[code])}" for code, count in self.codes.most_common()]


def export_rejects(parts: Parts, operation: UUID, path: Path, file_format: str | None = None) -> Exported:
    """Write the operation's rejects to `path`, in place of what was there.

    `file_format` is `csv` or `ndjson`; None: as the input was. Raises HaulageError where the file can't be written,
    NotFoundError where the operation has no manifest, or not any more.
    """
    exported = Exported(path)
    with parts.database.connection() as connection:
        facts = parts.manifest.facts(connection, operation)
        if facts is None:
            raise NotFoundError(f"Operation {operation} has no items: it has not been planned, or they are gone.")
        sentences = messages(parts.definitions, request(connection, operation))
        found = _with_contents(parts, connection, operation, facts, sentences)
        write_rejects(path, exported.counting(found), file_format=file_format or facts.format, columns=facts.header)
    return exported


def messages(definitions: Definitions, asked: Request) -> Mapping[str, str]:
    """A sentence for every code that an item of the operation can have."""
    definition = definitions.get(asked.kind, asked.definition_version)
    return {**MESSAGES, **definition.messages} if definition else MESSAGES


def _with_contents(
    parts: Parts, connection: Connection[Any], operation: UUID, facts: InputFacts, sentences: Mapping[str, str]
) -> Iterator[Reject]:
    for near in _spans(views.rejects(connection, operation)):
        first = near[0].ordinal
        items = parts.manifest.items(connection, operation, first, near[-1].ordinal)
        for found in near:
            yield Reject(
                row=facts.row_number(found.ordinal),
                code=found.code,
                field=found.field,
                message=sentences.get(found.code, ""),
                content=items.contents[found.ordinal - first],
            )


def _spans(rejects: Iterator[views.Reject]) -> Iterator[Sequence[views.Reject]]:
    near: list[views.Reject] = []
    for found in rejects:
        if near and not near[0].ordinal <= found.ordinal < near[0].ordinal + SPAN_ITEMS:
            yield near
            near = []
        near.append(found)
    if near:
        yield near


def _place(found: Reject) -> str:
    column = f", `{found.field}`" if found.field else ""
    return f"row {found.row:,}{column}: {found.message}" if found.message else f"row {found.row:,}{column}"
