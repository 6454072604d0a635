"""A proxy in front of PostgreSQL that cuts the connection at a chosen message of the client."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Thread

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Cut(Enum):
    """When to cut."""

    BEFORE = "the message never reaches the server"
    ANSWER = "the server acts on the message, its answer is lost"


@contextmanager
def cutting(url: str, at: bytes, cut: Cut) -> Iterator[str]:
    """A URL like `url` through the proxy, which cuts the first connection whose client says `at`, and no other."""
    server = conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        proxy = _Proxy(listener, (str(server["host"]), int(server["port"] or 0)), at, cut)
        thread = Thread(target=proxy.accept)
        thread.start()
        try:
            # In the clear, so that the proxy can read along.
            yield make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Proxy:
    def __init__(self, listener: socket.socket, server: tuple[str, int], at: bytes, cut: Cut) -> None:
        self._listener = listener
        self._server = server
        self._at = at
        self._cut = cut
        self._done = False

    def accept(self) -> None:
        """Until the listener is shut down."""
        connections = []
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                break
            connections.append(Thread(target=self._carry, args=(client,)))
            connections[-1].start()
        for connection in connections:
            connection.join()

    def _carry(self, client: socket.socket) -> None:
        with client, _connected(self._server) as server:
            while True:
                readable, _, _ = select.select([client, server], [], [], 30)
                for source in readable:
                    said = source.recv(1 << 16)
                    if not said:
                        return
                    if source is client and self._at in said and not self._done:
                        self._done = True
                        if self._cut is Cut.ANSWER:
                            server.sendall(said)
                            assert server.recv(1 << 16)
                        return
                    (server if source is client else client).sendall(said)


def _connected(server: tuple[str, int]) -> socket.socket:
    host, port = server
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection
