"""Rows of a view in and out of its table: new ones by COPY, changed ones by one UPDATE, however many there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

Row = tuple[Any, ...]
"""Values in the order of the table's columns."""


@dataclass(frozen=True)
class Table:
    """A table of schema haulage; `columns` are its columns' types by name, `key` the columns of its primary key.

    Names and types are our own words, never input, and are put into statements as they are, once.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]

    def insert(self, connection: Connection[Any], rows: Sequence[Row]) -> None:
        """Add rows; psycopg's UniqueViolation where one is there already."""
        if not rows:
            return
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            for row in rows:
                copy.write_row(row)

    def update(self, connection: Connection[Any], rows: Sequence[Row]) -> None:
        """Replace rows that are there."""
        if rows:
            connection.execute(self._update, [list(column) for column in zip(*rows, strict=True)], prepare=True)

    def select(self, connection: Connection[Any], clause: str, values: Mapping[str, Any]) -> list[Row]:
        """All columns of the rows that `clause` (from `where` on; the table is `t`) leaves."""
        with connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(self._select + clause.encode(), values).fetchall()

    def empty(self, connection: Connection[Any]) -> None:
        """Remove all rows. Waits for readers, and lets nobody read until the transaction ends."""
        connection.execute(f"truncate haulage.{self.name}".encode())

    @cached_property
    def _select(self) -> bytes:
        return f"select {', '.join(f't.{name}' for name in self.columns)} from haulage.{self.name} as t ".encode()  # noqa: S608 - see above

    @cached_property
    def _copy(self) -> bytes:
        return f"copy haulage.{self.name} ({', '.join(self.columns)}) from stdin".encode()

    @cached_property
    def _update(self) -> bytes:
        changes = ", ".join(f"{name} = new.{name}" for name in self.columns if name not in self.key)
        values = ", ".join(f"%s::{kind}[]" for kind in self.columns.values())
        same = " and ".join(f"t.{name} = new.{name}" for name in self.key)
        return f"""
            update haulage.{self.name} as t set {changes} from unnest({values}) as new ({", ".join(self.columns)})
            where {same}
        """.encode()  # noqa: S608 - see above
