"""The careful way in: for a chunk that the directory refused, or will. Diagnosed by sets, never item by item.

The items are copied into a temporary table. Those whose e-mail is free are inserted from there with ON CONFLICT DO
NOTHING, which also waits for transactions that are just inserting the same e-mail: no race, whatever goes on beside.
It settles doubles within the chunk too, since rows go in by e-mail and then ordinal: the first wins. Whoever is not in
then is looked up, and rejected, skipped or updated.

What this can't attribute (a constraint that an installation has added, say) is found by halving, each half in a
savepoint.

Chunks that meet in several e-mails don't deadlock with one another, because each takes them in the same order. With the
fast way, which takes them in the file's order, one can: then one of the two is given up by the database and repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.sql import Identifier

from haulage.domain.directory import Merged, NewUsers, OnConflict
from haulage.domain.items import Outcome, OutcomeKind
from haulage.infra.postgres.directory import organizations, updating
from haulage.infra.postgres.directory.copying import copy
from haulage.infra.postgres.directory.refusals import caused_by_an_item
from haulage.infra.postgres.directory.rows import ids_of, person_columns, roles_of
from haulage.infra.postgres.errors import BusyError

_CREATE = """
create temporary table incoming (
    ordinal bigint, id uuid, email text, name text, external_id text, locale text, department text, role text
) on commit drop
"""

_ADD_USERS = """
insert into directory.users (id, email, name, external_id, locale, department, created_by)
select id, email, name, external_id, locale, department, %(operation)s
from pg_temp.incoming where ordinal between %(first)s and %(last)s
order by lower(email collate "pg_c_utf8"), ordinal
on conflict (lower(email collate "pg_c_utf8")) do nothing
"""

# The lateral subqueries with their limit make the database look every row up by index, whatever it believes about the
# size of a temporary table it knows nothing of.
_ADD_MEMBERSHIPS = """
insert into directory.memberships (user_id, organization_id, role)
select incoming.id, %(organization)s, role
from pg_temp.incoming cross join lateral (select from directory.users where users.id = incoming.id limit 1) as added
where ordinal between %(first)s and %(last)s
"""

_NOT_ADDED = """
select incoming.ordinal, holder.id,
    coalesce(holder.created_by = %(operation)s, false) or coalesce(holder.changed_by = %(operation)s, false)
from pg_temp.incoming left join lateral (
    select id, created_by, changed_by from directory.users
    where lower(users.email collate "pg_c_utf8") = lower(incoming.email collate "pg_c_utf8") limit 1
) as holder on true
where ordinal between %(first)s and %(last)s and holder.id is distinct from incoming.id
order by incoming.ordinal
"""


class _Conflict(NamedTuple):
    """An item that was not added: who has its e-mail, and whether that was this operation's doing."""

    ordinal: int
    holder: UUID
    same_operation: bool


@dataclass(frozen=True, slots=True)
class _Merge:
    """One merge, with what its statements need to know. Parts of it are given as indexes, both included."""

    connection: Connection[Any]
    new: NewUsers
    on_conflict: OnConflict
    organization: UUID


def merge(connection: Connection[Any], new: NewUsers, on_conflict: OnConflict) -> Merged:
    """Add those that can be added, and tell what became of the others."""
    organization = organizations.hold(connection, new.organization)
    if not new.rows:
        return Merged()
    connection.execute(_CREATE, prepare=False)
    columns = {"ordinal": [str(ordinal) for ordinal in new.ordinals], "id": ids_of(new)}
    copy(
        connection, Identifier("pg_temp", "incoming"), columns | person_columns(new.rows) | {"role": roles_of(new.rows)}
    )
    merged = _halving(_Merge(connection, new, on_conflict, organization), 0, len(new.rows) - 1)
    # Another chunk may follow in the same transaction.
    connection.execute("drop table pg_temp.incoming", prepare=False)
    return merged


def _halving(merge: _Merge, first: int, last: int) -> Merged:
    """Settle a part; where an item makes that fail, each half on its own, until the item stands alone."""
    try:
        with merge.connection.transaction():
            return _settled(merge, first, last)
    except psycopg.Error as error:
        if not caused_by_an_item(error):
            raise
    if first == last:
        return Merged([Outcome(merge.new.ordinals[first], OutcomeKind.REJECTED, "refused_by_directory")])
    middle = (first + last) // 2
    halves = _halving(merge, first, middle), _halving(merge, middle + 1, last)
    return Merged([o for half in halves for o in half.exceptions], [u for half in halves for u in half.undo])


def _settled(merge: _Merge, first: int, last: int) -> Merged:
    part = {
        "operation": merge.new.operation,
        "organization": merge.organization,
        "first": merge.new.ordinals[first],
        "last": merge.new.ordinals[last],
    }
    merge.connection.execute(_ADD_USERS, part, prepare=False)
    merge.connection.execute(_ADD_MEMBERSHIPS, part, prepare=False)
    rows = merge.connection.cursor(row_factory=tuple_row).execute(_NOT_ADDED, part, prepare=False)
    conflicts = [_Conflict(*row) for row in rows]
    if any(conflict.holder is None for conflict in conflicts):
        raise BusyError("A user was deleted from the directory just while its e-mail was imported. Repeat the chunk.")
    return _answered(merge, conflicts)


def _answered(merge: _Merge, conflicts: Sequence[_Conflict]) -> Merged:
    """What becomes of items that were not added, as `on_conflict` says."""
    twice = [conflict for conflict in conflicts if conflict.same_operation]
    held = [conflict for conflict in conflicts if not conflict.same_operation]
    match merge.on_conflict:
        case OnConflict.REJECT:
            return Merged([*_rejected(twice, "email_in_file"), *_rejected(held, "email_in_directory")])
        case OnConflict.SKIP:
            return Merged([*_skipped(twice, "email_in_file"), *_skipped(held, "exists")])
        case OnConflict.UPDATE:
            firsts = {conflict.holder: conflict for conflict in reversed(held)}
            later = [conflict for conflict in held if firsts[conflict.holder] is not conflict]
            updated = _updated(merge, list(firsts.values()))
            return Merged([*_rejected([*twice, *later], "email_in_file"), *updated.exceptions], updated.undo)


def _updated(merge: _Merge, conflicts: Sequence[_Conflict]) -> Merged:
    rows = dict(zip(merge.new.ordinals, merge.new.rows, strict=True))
    targets = [updating.Target(c.ordinal, c.holder, rows[c.ordinal]) for c in conflicts]
    undo = updating.update(merge.connection, merge.new.operation, merge.organization, targets)
    changed = {record.ordinal for record in undo}
    return Merged(_skipped([c for c in conflicts if c.ordinal not in changed], "unchanged"), undo)


def _rejected(conflicts: Sequence[_Conflict], code: str) -> list[Outcome]:
    return [Outcome(conflict.ordinal, OutcomeKind.REJECTED, code, "email") for conflict in conflicts]


def _skipped(conflicts: Sequence[_Conflict], code: str) -> list[Outcome]:
    return [Outcome(conflict.ordinal, OutcomeKind.SKIPPED, code) for conflict in conflicts]
