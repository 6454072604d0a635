"""What can go wrong with embedded servers, as sentences for people."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haulage.domain.errors import HaulageError, RefusedError

# How sentences end where only a server of the reader's own can help.
INSTEAD = "name servers of your own with HAULAGE_POSTGRES_URL and HAULAGE_NATS_URL."


class EmbeddedError(HaulageError):
    """The embedded servers can't be started, found or stopped."""

    code = "servers"


class HomeError(EmbeddedError):
    """The home can't be used: not writable, not ours, or a copy of another."""

    code = "home"


class PortTakenError(EmbeddedError):
    """Another program listens on the port."""

    code = "port_taken"


class InUseError(RefusedError):
    """The servers are not stopped, since others use them."""

    code = "in_use"


_TELLING = re.compile(r"FATAL|PANIC|ERROR|error:|invalid|could not|\[FTL\]|\[ERR\]|nats-server:")


def gist(said: str) -> str:
    """Of what a server or `initdb` printed, the lines that tell what went wrong; all of it where none does."""
    lines = said.splitlines()
    telling = [line for line in lines if _TELLING.search(line)]
    return "\n".join(telling or lines[-10:])


@contextmanager
def home_errors(home: Path) -> Iterator[None]:
    """Turn an `OSError` met while reading or writing `home` into a sentence."""
    try:
        yield
    except OSError as error:
        where = f" at {error.filename}" if error.filename and str(error.filename) != str(home) else ""
        raise HomeError(
            f"The home {home} can't be used: {error.strerror or error}{where}. "
            "Choose a folder you can write to with HAULAGE_HOME."
        ) from error
