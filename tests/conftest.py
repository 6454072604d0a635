"""Real servers for tests: one embedded PostgreSQL and one NATS server a session, a database of its own for each test.

    database_url, admin_url   a fresh, migrated database: as the application's role, as the administrator
    nats_url                  the session's NATS server; streams and buckets are gone after the test
    servers                   servers not started, for tests that kill things; their home is that of the test's module
    make_servers              the same, as many as you like, in homes of their own and with settings you like

Every home below pytest's temporary folder is stopped and removed at the end, however the session ends (`reaper.py`).
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import nats
import psycopg
import pytest
from psycopg import sql
from server_processes import FAST

from haulage.infra.postgres.migrate import migrate
from haulage.infra.servers import Servers, ServerUrls
from haulage.infra.settings import Settings

# A test that reached a developer's own servers could destroy something.
for _name in [name for name in os.environ if name.startswith("HAULAGE_")]:
    del os.environ[_name]

TEMPLATE = "migrated_template"


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """One test's own database, as the application's role and as the administrator."""

    __test__ = False

    app_url: str
    admin_url: str


@pytest.fixture(scope="session", autouse=True)
def _reaper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    command = [sys.executable, str(Path(__file__).parent / "reaper.py"), str(tmp_path_factory.getbasetemp())]
    # A session of its own: Ctrl-C is for us, and it acts on our end.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as reaper:
        yield
        reaper.communicate(timeout=60)


@pytest.fixture(scope="session")
def server_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUrls]:
    """The session's own servers; the database in the URLs is bare."""
    servers = Servers(Settings(home=tmp_path_factory.mktemp("session") / "home"), postgres_options=FAST)
    with servers as urls:
        yield urls


@pytest.fixture(scope="session")
def _template(server_urls: ServerUrls) -> str:
    assert server_urls.postgres_admin is not None
    _administer(server_urls, "CREATE DATABASE {}", TEMPLATE)
    migrate(_of(TEMPLATE, server_urls.postgres_admin), _of(TEMPLATE, server_urls.postgres_app))
    return TEMPLATE


@pytest.fixture
def database(server_urls: ServerUrls, _template: str) -> Iterator[TestDatabase]:
    """A fresh, migrated database."""
    assert server_urls.postgres_admin is not None
    name = f"t_{uuid4().hex}"
    _administer(server_urls, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, _template)
    yield TestDatabase(_of(name, server_urls.postgres_app), _of(name, server_urls.postgres_admin))
    _administer(server_urls, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database_url(database: TestDatabase) -> str:
    """A fresh, migrated database, as the application's role."""
    return database.app_url


@pytest.fixture
def admin_url(database: TestDatabase) -> str:
    """The database of `database_url`, as the administrator."""
    return database.admin_url


@pytest.fixture
def nats_url(server_urls: ServerUrls) -> Iterator[str]:
    """A NATS server without streams, buckets or objects. Tests run one after the other, so nobody else is on it."""
    yield server_urls.nats
    asyncio.run(_delete_streams(server_urls.nats))


@pytest.fixture
def make_servers(tmp_path: Path) -> Iterator[Callable[..., Servers]]:
    """A maker of servers, each in a home of its own unless settings (as keywords) name one; stopped after the test."""
    made: list[Servers] = []

    def make(**settings: Any) -> Servers:
        settings.setdefault("home", tmp_path / f"home-{len(made)}")
        servers = Servers(Settings(**settings), postgres_options=FAST)
        made.append(servers)
        return servers

    yield make
    for servers in made:
        servers.release()
        servers.stop(force=True)


@pytest.fixture(scope="module")
def _kept_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "home"


@pytest.fixture
def servers(make_servers: Callable[..., Servers], _kept_home: Path) -> Servers:
    """Servers that a test may kill, not started. Tests of one module find what the last one stored there."""
    return make_servers(home=_kept_home)


@pytest.fixture
def free_ports() -> list[int]:
    """Two ports of this machine that nobody listens on."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


def _administer(urls: ServerUrls, statement: str, *names: str) -> None:
    with psycopg.connect(urls.postgres_admin or "", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _of(database: str, url: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


async def _delete_streams(url: str) -> None:
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name)
    await connection.close()
