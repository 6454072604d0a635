"""Reading: the database, with the embedded servers brought for the time of it, and never a home made for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from haulage.domain.errors import HaulageError, NotFoundError

if TYPE_CHECKING:
    from haulage.infra.bootstrap import Parts
    from haulage.infra.settings import Settings


class NothingYetError(NotFoundError):
    """There is no home: nothing was ever done here."""


class NotMigratedError(HaulageError):
    """The database is there, and Haulage's schema is not, or not in this version."""

    code = "migration"


@contextmanager
def reading(settings: "Settings") -> "Iterator[Parts]":
    """The parts of a process that only looks.

    Raises NothingYetError, NotMigratedError, NotReachableError, EmbeddedError.
    """
    refuse_without_home(settings)
    with opened(settings) as parts:
        yield parts


@contextmanager
def opened(settings: "Settings") -> "Iterator[Parts]":
    """The parts of a process, and the embedded servers for as long; a home is made where there is none."""
    from haulage.infra.bootstrap import parts, prepare
    from haulage.infra.servers import Servers

    with Servers(settings) as urls:
        if settings.postgres_url is None:
            prepare(urls)
        with parts(urls, application_name="haulage-cli", connections=2) as made:
            if settings.postgres_url is not None:
                refuse_old_schema(made)
            yield made


def has_home(settings: "Settings") -> bool:
    """Whether there is something to read: a home in which servers were started, or a database by its URL."""
    return settings.postgres_url is not None or (settings.home / "home.json").exists()


def refuse_without_home(settings: "Settings") -> None:
    """Raise NothingYetError where reading would make a home."""
    if not has_home(settings):
        raise NothingYetError(
            f"There is nothing here yet: no home at {settings.home}. `haulage demo` makes one and shows an import; "
            "HAULAGE_HOME names another home, HAULAGE_POSTGRES_URL a database."
        )


def refuse_old_schema(parts: "Parts") -> None:
    """Raise NotMigratedError where the database is not at this version's schema."""
    from haulage.infra.postgres.migrate import pending_migrations

    # Not from the pool, which would wait for a server that is not there.
    with parts.database.connect() as connection:
        pending = pending_migrations(connection)
    if pending:
        raise NotMigratedError(
            f"The database lacks {len(pending)} of this version's migrations ({', '.join(pending)}). "
            "Run `haulage migrate` with HAULAGE_POSTGRES_ADMIN_URL set."
        )
