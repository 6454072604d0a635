"""What goes into COPY comes out of the table, whatever characters it has."""

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import Identifier

from haulage.infra.postgres.directory.copying import copy

NASTY = st.sampled_from(
    ["\t", "\n", "\r", "\r\n", "\\", "\\N", "\\.", "\\t", '"', "'", ",", "NULL", "\x01", "\x7f", "é"]
)
# Neither NUL, which PostgreSQL does not have and validation rejects, nor surrogates, which are no characters.
TEXT = st.lists(NASTY | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4).map(
    "".join
)


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8))
def test_every_text_comes_back_as_it_was_and_an_empty_one_as_null(
    database_url: str, encoding: str, rows: list[tuple[str, str, str]]
) -> None:
    with psycopg.connect(database_url, client_encoding=encoding) as connection:
        connection.execute("create temporary table stored (place integer, a text, b text, c text)")
        columns = [list(column) for column in zip(*rows, strict=True)]
        places = [str(place) for place in range(len(rows))]
        copy(
            connection,
            Identifier("pg_temp", "stored"),
            {"place": places, "a": columns[0], "b": columns[1], "c": columns[2]},
        )
        connection.execute("set client_encoding = 'UTF8'")
        stored = connection.execute("select a, b, c from stored order by place").fetchall()
    assert stored == [tuple(value or None for value in row) for row in rows]
