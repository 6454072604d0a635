"""The fast way in: users and memberships by COPY. The directory takes all of them, or refuses the whole chunk."""

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import Identifier

from haulage.domain.directory import NewUsers
from haulage.domain.errors import ParticipantRefusedError
from haulage.infra.postgres.directory import organizations
from haulage.infra.postgres.directory.copying import copy
from haulage.infra.postgres.directory.refusals import caused_by_an_item
from haulage.infra.postgres.directory.rows import ids_of, person_columns, roles_of

USERS = Identifier("directory", "users")
MEMBERSHIPS = Identifier("directory", "memberships")


def add(connection: Connection[Any], new: NewUsers) -> None:
    """Add all users; `ParticipantRefusedError` where that failed for a reason that lies in an item."""
    organization = organizations.hold(connection, new.organization)
    if not new.rows:
        return
    ids, count = ids_of(new), len(new.rows)
    users = {"id": ids, **person_columns(new.rows), "created_by": [new.operation.hex] * count}
    memberships = {"user_id": ids, "organization_id": [organization.hex] * count, "role": roles_of(new.rows)}
    try:
        copy(connection, USERS, users)
        copy(connection, MEMBERSHIPS, memberships)
    except psycopg.Error as error:
        if not caused_by_an_item(error):
            raise
        # The original error quotes the data, which must not get into any log.
        raise ParticipantRefusedError(
            f"the directory refused the items {new.ordinals[0]} to {new.ordinals[-1]} ({type(error).__name__})"
        ) from None
