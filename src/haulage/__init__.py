"""Haulage: bulk operations as event-sourced sagas."""
