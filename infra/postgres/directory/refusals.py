"""Which errors of the database an item can have caused, so that other items can do without it."""

import psycopg

_CLASSES = ("22", "23")
"""Bad data, and violated constraints: ours, and what an installation has added (PostgreSQL, "Error Codes")."""

_STATES = ("54000", "P0001")
"""A value too long for an index; a trigger that refused."""

_OF_IDS = ("users_pkey", "memberships_pkey")
"""Violated only where two operations make the same ids, or one is applied twice: no item's fault."""


def caused_by_an_item(error: psycopg.Error) -> bool:
    """Whether `error` may lie in the data of an item, rather than in the circumstances or in us."""
    state = error.sqlstate or ""
    return (state[:2] in _CLASSES or state in _STATES) and error.diag.constraint_name not in _OF_IDS
