"""The embedded servers as their users meet them."""

import psycopg


def test_a_test_database_is_migrated_and_belongs_to_the_application(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select current_user, to_regclass('haulage.migrations') is not null").fetchone()
    assert row == ("haulage_app", True)
