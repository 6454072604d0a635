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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.sql import Identifier

from haulage.domain.directory import Merged, NewUsers, OnConflict, ordinal_of
from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.user_row import UserRow
from haulage.infra.postgres.directory import organizations
from haulage.infra.postgres.directory.adding import add_memberships
from haulage.infra.postgres.directory.copying import copy
from haulage.infra.postgres.directory.refusals import caused_by_an_item
from haulage.infra.postgres.directory.rows import ids_of, person_columns
from haulage.infra.postgres.directory.updating import Target, update
from haulage.infra.postgres.errors import BusyError

_CREATE = """
create temporary table incoming (
    ordinal bigint, id uuid, email text, name text, external_id text, locale text, department text
) on commit drop
"""

_ADD_USERS = """
insert into directory.users (id, email, name, external_id, locale, department, created_by)
select id, email, name, external_id, locale, department, %(operation)s
from pg_temp.incoming where ordinal between %(first)s and %(last)s
order by lower(email collate "pg_c_utf8"), ordinal
on conflict (lower(email collate "pg_c_utf8")) do nothing
returning id
"""

# The lateral subquery with its limit makes the database look each one up by index, whatever it believes about the size
# of a temporary table it knows nothing of.
_NOT_ADDED = """
select ordinal, holder.id,
    coalesce(holder.created_by = %(operation)s, false) or coalesce(holder.changed_by = %(operation)s, false)
from pg_temp.incoming left join lateral (
    select id, created_by, changed_by from directory.users
    where lower(users.email collate "pg_c_utf8") = lower(incoming.email collate "pg_c_utf8") limit 1
) as holder on true
where ordinal = any(%(ordinals)s)
order by ordinal
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
    columns = {"ordinal": list(map(str, new.ordinals)), "id": ids_of(new.operation, new.ordinals)}
    copy(connection, Identifier("pg_temp", "incoming"), columns | person_columns(new.rows))
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
    """Add what is free, then answer for the others."""
    operation, ordinals = merge.new.operation, merge.new.ordinals[first : last + 1]
    rows = dict(zip(ordinals, merge.new.rows[first : last + 1], strict=True))
    added = _add_users(merge, ordinals[0], ordinals[-1])
    add_memberships(merge.connection, merge.organization, ids_of(operation, added), [rows[o] for o in added])
    rest = rows.keys() - set(added)
    return _answered(merge, _conflicts(merge, sorted(rest)), rows)


def _add_users(merge: _Merge, first: int, last: int) -> list[int]:
    """Add the items `first` to `last`, ordinals now, as far as their e-mails are free; which these were."""
    parameters = {"operation": merge.new.operation, "first": first, "last": last}
    cursor = merge.connection.cursor(row_factory=tuple_row)
    return sorted(ordinal_of(user) for (user,) in cursor.execute(_ADD_USERS, parameters, prepare=False, binary=True))


def _conflicts(merge: _Merge, ordinals: Sequence[int]) -> list[_Conflict]:
    if not ordinals:
        return []
    parameters = {"operation": merge.new.operation, "ordinals": ordinals}
    cursor = merge.connection.cursor(row_factory=tuple_row)
    conflicts = [_Conflict(*row) for row in cursor.execute(_NOT_ADDED, parameters, prepare=False)]
    if any(conflict.holder is None for conflict in conflicts):
        raise BusyError("A user was deleted from the directory just while its e-mail was imported. Repeat the chunk.")
    return conflicts


def _answered(merge: _Merge, conflicts: Sequence[_Conflict], rows: Mapping[int, UserRow]) -> Merged:
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
            targets = [Target(c.ordinal, c.holder, rows[c.ordinal]) for c in firsts.values()]
            undo = update(merge.connection, merge.new.operation, merge.organization, targets)
            changed = {record.ordinal for record in undo}
            unchanged = [conflict for conflict in firsts.values() if conflict.ordinal not in changed]
            return Merged([*_rejected([*twice, *later], "email_in_file"), *_skipped(unchanged, "unchanged")], undo)


def _rejected(conflicts: Sequence[_Conflict], code: str) -> list[Outcome]:
    return [Outcome(conflict.ordinal, OutcomeKind.REJECTED, code, "email") for conflict in conflicts]


def _skipped(conflicts: Sequence[_Conflict], code: str) -> list[Outcome]:
    return [Outcome(conflict.ordinal, OutcomeKind.SKIPPED, code) for conflict in conflicts]
