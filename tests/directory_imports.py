"""Imports into the reference directory without the engine: chunk by chunk, each in a transaction of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from haulage.domain.errors import ParticipantRefusedError
from haulage.domain.items import Outcome
from haulage.domain.manifest import Items
from haulage.domain.undo import UndoRecord
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.directory import PostgresDirectory
from haulage.sagas.catalogue.import_users import IMPORT_USERS, ImportUsers
from haulage.sagas.definition import Applied, ChunkContext, Compensated

ACTION = IMPORT_USERS.steps[0].action


def user(email: str, name: str = "Ann", role: str = "member", **optional: Any) -> dict[str, Any]:
    """An item as NDJSON gives it."""
    return {"email": email, "name": name, "role": role, **optional}


@dataclass
class Import:
    """One operation. `codes` tells what became of each item so far; an empty text is success."""

    database: Database
    on_conflict: str = "reject"
    organization: str = "acme"
    operation: UUID = field(default_factory=uuid4)
    codes: dict[int, str] = field(default_factory=dict)
    chunks: list[tuple[ChunkContext, list[Outcome], Sequence[UndoRecord]]] = field(default_factory=list)

    def apply(self, rows: Sequence[Mapping[str, Any]], first: int = 1, *, careful: bool | None = None) -> Applied:
        """Apply one chunk. `careful` None: as the engine does, the fast way first."""
        chunk = self.context(first, first + len(rows) - 1)
        checked = ACTION.check(chunk.parameters, Items(first, None, rows))
        try:
            applied = self._applied(chunk, checked, careful=bool(careful))
        except ParticipantRefusedError:
            if careful is not None:
                raise
            applied = self._applied(chunk, checked, careful=True)
        outcomes = [*checked.rejected, *applied.exceptions]
        self.chunks.append((chunk, outcomes, applied.undo))
        self.codes |= dict.fromkeys(range(chunk.first, chunk.last + 1), "") | {o.ordinal: o.code for o in outcomes}
        return applied

    def compensate(self, index: int = -1) -> Compensated:
        """Compensate one chunk."""
        chunk, outcomes, undo = self.chunks[index]
        with directory(self.database) as participant:
            return ACTION.compensate(participant, chunk, outcomes, undo)

    def roll_back(self) -> dict[int, str]:
        """Compensate all chunks, newest first; the codes of those that were left."""
        left = [o for index in reversed(range(len(self.chunks))) for o in self.compensate(index).conflicting]
        return {outcome.ordinal: outcome.code for outcome in left}

    def context(self, first: int, last: int) -> ChunkContext:
        """The chunk `first..last`."""
        parameters = ImportUsers.model_validate({"organization": self.organization, "on_conflict": self.on_conflict})
        return ChunkContext(self.operation, "default", "add-users", first, last, parameters)

    def _applied(self, chunk: ChunkContext, checked: Any, *, careful: bool) -> Applied:
        with directory(self.database) as participant:
            return ACTION.apply(participant, chunk, checked, careful=careful)


@contextmanager
def directory(database: Database) -> Iterator[PostgresDirectory]:
    """The directory in a transaction."""
    with database.transaction() as connection:
        yield PostgresDirectory(connection)


def execute(database: Database, statement: str, *parameters: Any) -> list[Any]:
    """What somebody else does, directly."""
    with database.transaction() as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def snapshot(database: Database) -> dict[str, list[Any]]:
    """Everything in the directory, except versions, which only ever rise."""
    return {
        "organizations": execute(database, "select * from directory.organizations order by id"),
        "users": execute(
            database,
            "select id, email, name, external_id, locale, department, created_by, changed_by, created_at"
            " from directory.users order by id",
        ),
        "memberships": execute(
            database,
            "select user_id, organization_id, role from directory.memberships order by user_id, organization_id",
        ),
    }


def people(database: Database) -> dict[str, tuple[Any, ...]]:
    """Name, external id, locale, department and role in `acme`, by e-mail."""
    rows = execute(
        database,
        """
        select email, users.name, external_id, locale, department, role from directory.users
        left join (directory.memberships join directory.organizations on organizations.id = organization_id
            and slug = 'acme') on user_id = users.id
        """,
    )
    return {email: tuple(rest) for email, *rest in rows}
