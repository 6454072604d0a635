"""Followers skip nothing and see each stream in order, whatever the writers do; and what protects them is needed."""

import psycopg
from adversary import contend

ROUNDS = 5
"""A planted bug is caught in the first round or two; without a bug, none of these would."""


def test_concurrent_writers_with_random_delays_never_make_a_follower_skip_or_disorder(database_url: str) -> None:
    outcome = contend(database_url, seconds=4)

    assert outcome.skipped == 0
    assert outcome.followed.out_of_order() == []
    # They did get in each other's way.
    assert outcome.attempts["committed"] > 50
    assert outcome.attempts["LateAppendError"] > 0
    assert outcome.attempts["ConflictError"] > 0


def test_a_follower_that_ignores_the_horizon_is_caught_skipping(database_url: str, admin_url: str) -> None:
    plant(admin_url, "haulage.horizon()", "xid_offset) * 1048576", "xid_offset) * 1048576 + (1::bigint << 60)")

    assert any(contend(database_url, seconds=1).skipped for _ in range(ROUNDS))


def test_without_the_rule_on_late_appends_a_follower_is_caught_disordered(database_url: str, admin_url: str) -> None:
    plant(
        admin_url,
        "haulage.append(uuid[], bigint[], text[], bytea[])",
        "before.position >= first + new.place - 1 or",
        "",
    )

    assert any(contend(database_url, seconds=1).followed.out_of_order() for _ in range(ROUNDS))


def plant(admin_url: str, function: str, part: str, bug: str) -> None:
    """Put a bug into a function of the test's own database."""
    with psycopg.connect(admin_url) as connection:
        row = connection.execute("select pg_get_functiondef(%s::regprocedure)", (function,)).fetchone()
        assert row is not None
        definition: str = row[0]
        assert part in definition
        connection.execute(definition.replace(part, bug).encode())
