"""The reference directory in PostgreSQL: the adapter of `domain.directory.Directory`.

The parts, each a module of functions on a connection: organizations, adding (the fast way in), merging (the careful
one), removing and restoring (the ways back); `copying` writes the format that COPY reads.

Crash story. Everything happens in the caller's open transaction, which also records it: died before the commit, nothing
happened; died after it, everything did.
"""

from haulage.infra.postgres.directory.adapter import PostgresDirectory

__all__ = ["PostgresDirectory"]
