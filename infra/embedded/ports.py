"""Which port a server listens on: the one asked for, else the one it had last time, else a free one.

Free ones are looked for below the range that systems hand out for outgoing connections, so that a server that comes
back after a crash finds its port as it left it.
"""

import socket
from collections.abc import Iterator

from haulage.infra.embedded.errors import EmbeddedError, PortTakenError
from haulage.infra.embedded.polling import until

HOST = "127.0.0.1"
_FIRST, _COUNT = 20_000, 12_000

# A killed server's lock is free a moment before its port is.
_LINGERS_SECONDS = 1.0


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of this machine's loopback address now."""
    with socket.socket() as probe:
        # As servers do: connections of the last one that linger don't matter, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def candidates(server: str, asked: int, last: int | None, seed: int) -> Iterator[int]:
    """Ports to try in turn, each free a moment ago; `server` is `postgres` or `nats`, `asked` is 0 for any.

    Raises `PortTakenError` when the one asked for is taken, or taken after all when the caller comes back for another.
    """
    usual = asked or last
    if usual and until(lambda: is_free(usual), _LINGERS_SECONDS):
        yield usual
    if asked:
        raise PortTakenError(
            f"Port {asked}, asked for the embedded {server} server, is taken by another program. "
            f"Stop that program, or ask for another port (0: any) with HAULAGE_{server.upper()}_PORT."
        )
    ports = (_FIRST + (seed + step) % _COUNT for step in range(_COUNT))
    yield from filter(is_free, ports)
    raise EmbeddedError(f"No port from {_FIRST} to {_FIRST + _COUNT - 1} is free for the embedded {server} server.")
