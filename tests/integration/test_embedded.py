"""The embedded servers as their users meet them: started by the first, found by the others, stopped by the last."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import nats
import nats.errors
import psycopg
import pytest
from server_processes import leave, lives, pids_of, user_of

from haulage.infra.embedded.errors import EmbeddedError, InUseError, PortTakenError
from haulage.infra.embedded.home import Home
from haulage.infra.embedded.quarters import data_folder
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings

MakeServers = Callable[..., Servers]


def answer(url: str) -> str:
    """Who PostgreSQL says we are, and in which database."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select current_user || '@' || current_database()").fetchone()
    assert row is not None
    return str(row[0])


def jetstream_answers(url: str) -> bool:
    async def ask() -> bool:
        connection = await nats.connect(url, allow_reconnect=False, connect_timeout=2)
        await connection.jetstream().add_stream(name="probe", subjects=["probe"])
        await connection.close()
        return True

    return asyncio.run(ask())


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("select current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def test_a_test_database_is_migrated_and_belongs_to_the_application(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select current_user, to_regclass('haulage.migrations') is not null").fetchone()
    assert row == ("haulage_app", True)


def test_the_first_user_starts_both_servers_and_the_last_one_stops_them(servers: Servers) -> None:
    with servers as urls:
        assert answer(urls.postgres_admin or "") == "haulage_admin@haulage"
        assert jetstream_answers(urls.nats)
        running = servers.status()
        assert (running.postgres.running, running.nats.running) == (True, True)
        assert [user.pid for user in running.users] == [os.getpid()]
    stopped = servers.status()
    assert (stopped.postgres.running, stopped.nats.running, stopped.users) == (False, False, ())
    assert not lives(running.postgres.pid)
    assert not lives(running.nats.pid)


def test_the_urls_are_the_same_after_a_restart(servers: Servers) -> None:
    with servers as first:
        told = servers.status()
    with servers as second:
        assert second == first
        assert servers.status().postgres.url == told.postgres.url


def test_the_url_that_status_tells_is_for_any_client(servers: Servers) -> None:
    with servers as urls:
        psycopg.connect(urls.postgres_admin or "").execute("select 1")
        url = servers.status().postgres.url or ""
        assert "@127.0.0.1:" in url
        admin = url.replace("haulage_app", "haulage_admin")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(admin)
        assert servers.status().nats.url == urls.nats


def test_nobody_gets_in_without_the_generated_secrets(servers: Servers) -> None:
    with servers as urls:
        postgres, bus = (urls.postgres_admin or "").split(":"), urls.nats
        wrong = ":".join([postgres[0], postgres[1], "wrong@" + postgres[2].split("@", 1)[1], *postgres[3:]])
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        with pytest.raises((nats.errors.Error, OSError)):
            jetstream_answers("nats://wrong@" + bus.rpartition("@")[2])


def test_secrets_are_in_no_file_that_others_may_read(servers: Servers) -> None:
    with servers as urls:
        home = servers.status().home
        identity = Home(home).identity()
        assert identity is not None
        token = urls.nats.removeprefix("nats://").partition("@")[0].encode()
        password = (urls.postgres_admin or "").split(":")[2].partition("@")[0].encode()
        folders = {home, data_folder(Home(home), identity)}
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        holding = [path for path in files if token in path.read_bytes() or password in path.read_bytes()]
        assert {path.name for path in holding} == {"secrets.json", "nats.conf"}
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holding)
        assert repr(urls).count("://") == 0


def test_commits_are_durable_unless_a_test_says_otherwise(tmp_path: Path) -> None:
    with Servers(Settings(home=tmp_path / "home")) as urls:
        url = urls.postgres_admin or ""
        assert [setting(url, name) for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
        assert setting(url, "data_checksums") == "on"
        assert setting(url, "server_encoding") == "UTF8"
        assert setting(url, "listen_addresses") == "127.0.0.1"


def test_what_a_refused_statement_held_does_not_reach_the_servers_log(servers: Servers) -> None:
    with servers as urls, psycopg.connect(urls.postgres_admin or "", autocommit=True) as connection:
        connection.execute("create table people (email text primary key)")
        connection.execute("insert into people values ('ann@example.org')")
        with pytest.raises(psycopg.errors.UniqueViolation, match=r"ann@example\.org"):
            connection.execute("insert into people values ('ann@example.org')")
    assert "example.org" not in (servers.status().home / "log/postgres.log").read_text()


def test_processes_that_start_at_the_same_moment_share_one_pair_of_servers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user_of(tmp_path / "home")) for _ in range(4)]
        assert len({pids_of(user) for user in users}) == 1


def test_servers_outlive_a_killed_starter_and_stop_with_the_last_living_user(servers: Servers) -> None:
    home = servers.status().home
    with user_of(home) as starter, user_of(home) as other:
        postgres, bus = pids_of(starter)
        assert pids_of(other) == (postgres, bus)
        starter.kill()
        starter.wait()
        assert lives(postgres)
        assert lives(bus)
        leave(other)
        assert not lives(postgres)
        assert not lives(bus)


def test_servers_left_behind_by_a_killed_user_are_found_and_can_be_stopped(servers: Servers) -> None:
    home = servers.status().home
    with user_of(home) as user:
        pids = pids_of(user)
    left = servers.status()
    assert ((left.postgres.pid, left.nats.pid), left.users) == (pids, ())
    assert servers.stop() is True
    assert [lives(pid) for pid in pids] == [False, False]
    assert servers.stop() is False


def test_servers_in_use_by_others_are_stopped_only_by_force(servers: Servers) -> None:
    with user_of(servers.status().home) as user:
        pids = pids_of(user)
        with pytest.raises(InUseError, match=rf"in use by process {user.pid} \(.*server_user\.py"):
            servers.stop()
        assert lives(pids[0])
        servers.stop(force=True)
        assert [lives(pid) for pid in pids] == [False, False]


def test_looking_at_a_home_makes_and_starts_nothing(make_servers: MakeServers) -> None:
    servers = make_servers()
    status = servers.status()
    assert (status.postgres.running, status.postgres.url, status.nats.url, status.users) == (False, None, None, ())
    assert servers.stop() is False
    assert not status.home.exists()


def test_a_repeated_release_leaves_the_servers_to_the_others(servers: Servers) -> None:
    with user_of(servers.status().home) as user:
        pids = pids_of(user)
        servers.acquire()
        servers.release()
        servers.release()
        assert lives(pids[0])


def test_a_port_that_is_asked_for_is_the_one_that_listens(make_servers: MakeServers, free_ports: list[int]) -> None:
    servers = make_servers(postgres_port=free_ports[0], nats_port=free_ports[1])
    with servers as urls:
        assert f":{free_ports[0]}/" in (servers.status().postgres.url or "")
        assert urls.nats.endswith(f":{free_ports[1]}")
        assert answer(urls.postgres_admin or "") == "haulage_admin@haulage"


def test_asking_for_a_port_that_is_taken_says_so_and_starts_nothing(make_servers: MakeServers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        servers = make_servers(nats_port=port)
        with pytest.raises(PortTakenError, match=rf"Port {port}, asked for .* HAULAGE_NATS_PORT"):
            servers.acquire()
    assert (servers.status().postgres.running, servers.status().users) == (False, ())


def test_asking_for_another_port_than_that_of_running_servers_says_so(
    servers: Servers, make_servers: MakeServers, free_ports: list[int]
) -> None:
    with servers, pytest.raises(EmbeddedError, match=rf"HAULAGE_POSTGRES_PORT asks for {free_ports[0]}"):
        make_servers(home=servers.status().home, postgres_port=free_ports[0]).acquire()


def test_a_port_taken_meanwhile_moves_the_port_but_not_our_own_url(servers: Servers) -> None:
    with servers as before:
        port = int((servers.status().postgres.url or "").rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)), servers as after:
        assert after.postgres_admin == before.postgres_admin
        assert f":{port}/" not in (servers.status().postgres.url or "")
        assert answer(after.postgres_admin or "") == "haulage_admin@haulage"


def test_urls_replace_the_servers_and_then_there_is_no_home(make_servers: MakeServers) -> None:
    servers = make_servers(postgres_url="postgresql://a:b@db/x", nats_url="nats://n:1,nats://u:p@n:2", nats_token="t")
    with servers as urls:
        assert urls.postgres_app == "postgresql://a:b@db/x"
        assert urls.postgres_admin is None
        assert urls.nats == "nats://t@n:1,nats://u:p@n:2"
        assert servers.ensure() == urls
        assert servers.status().postgres.embedded is False
        assert not servers.status().home.exists()


def test_one_url_replaces_one_server_and_the_other_is_embedded(make_servers: MakeServers) -> None:
    servers = make_servers(postgres_url="postgresql://a:b@db/x")
    with servers as urls:
        assert urls.postgres_app == "postgresql://a:b@db/x"
        assert jetstream_answers(urls.nats)
        assert servers.status().postgres.running is None
    assert not (servers.status().home / "log/postgres.log").exists()


def test_a_home_may_have_a_long_and_an_odd_name(make_servers: MakeServers, tmp_path: Path) -> None:
    home = tmp_path / ('a "name", with it\'s 100% own ways ' * 4) / "and then some more, to be longer than a socket may"
    servers = make_servers(home=home)
    with servers as urls:
        assert answer(urls.postgres_admin or "") == "haulage_admin@haulage"
        assert jetstream_answers(urls.nats)
    with servers as again:
        assert again == urls


def test_the_servers_data_is_closed_to_others_and_no_folder_was_opened(
    make_servers: MakeServers, tmp_path: Path
) -> None:
    servers = make_servers()
    before = {path: path.stat().st_mode for path in (tmp_path, *tmp_path.parents)}
    with servers:
        home = Home(servers.status().home)
        identity = home.identity()
        assert identity is not None
        folder = data_folder(home, identity)
        for name in ("postgres", "nats", "run"):
            status = (folder / name).stat()
            assert stat.S_IMODE(status.st_mode) == 0o700
            # As root the servers are another's; else ours.
            assert (status.st_uid == os.geteuid()) == (os.geteuid() != 0)
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert {path: path.stat().st_mode for path in before} == before


def test_servers_are_no_children_and_not_in_the_session_of_their_starter(servers: Servers) -> None:
    with servers:
        status = servers.status()
        for pid in (status.postgres.pid, status.nats.pid):
            assert pid is not None
            assert os.getsid(pid) != os.getsid(0)
            with pytest.raises(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def test_a_killed_user_is_no_user_any_more(servers: Servers) -> None:
    with user_of(servers.status().home) as user:
        pids_of(user)
        assert [one.pid for one in servers.status().users] == [user.pid]
        user.kill()
        user.wait()
        assert servers.status().users == ()
        with servers:
            assert [one.pid for one in servers.status().users] == [os.getpid()]
            assert len(list((servers.status().home / "users").iterdir())) == 1
