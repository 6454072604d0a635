"""The fast way in: users and memberships by COPY. The directory takes all of them, or refuses the whole chunk."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.sql import Identifier

from haulage.domain.directory import NewUsers
from haulage.domain.errors import ParticipantRefusedError
from haulage.domain.user_row import UserRow
from haulage.infra.postgres.directory import organizations
from haulage.infra.postgres.directory.copying import copy
from haulage.infra.postgres.directory.refusals import caused_by_an_item
from haulage.infra.postgres.directory.rows import ids_of, person_columns


def add(connection: Connection[Any], new: NewUsers) -> None:
    """Add all users; `ParticipantRefusedError` where that failed for a reason that lies in an item."""
    organization = organizations.hold(connection, new.organization)
    if not new.rows:
        return
    ids = ids_of(new.operation, new.ordinals)
    users = {"id": ids, **person_columns(new.rows), "created_by": [new.operation.hex] * len(ids)}
    try:
        copy(connection, Identifier("directory", "users"), users)
        add_memberships(connection, organization, ids, new.rows)
    except psycopg.Error as error:
        if not caused_by_an_item(error):
            raise
        # The original error quotes the data, which must not get into any log.
        raise ParticipantRefusedError(
            f"the directory refused the items {new.ordinals[0]} to {new.ordinals[-1]} ({type(error).__name__})"
        ) from None


def add_memberships(
    connection: Connection[Any], organization: UUID, ids: Sequence[str], rows: Sequence[UserRow]
) -> None:
    """Make new users, whose ids are given in hexadecimal, members in the roles of their rows."""
    if ids:
        columns = {"user_id": ids, "organization_id": [organization.hex] * len(ids), "role": [r["role"] for r in rows]}
        copy(connection, Identifier("directory", "memberships"), columns)
