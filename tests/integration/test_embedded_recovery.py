"""What the embedded servers come back from, and what they tell people where they can't."""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import nats
import psycopg
import pytest
from server_processes import end, lives, pids_of, user_of

from haulage.infra.embedded.errors import EmbeddedError, HomeError, InUseError
from haulage.infra.embedded.home import Home
from haulage.infra.embedded.polling import until
from haulage.infra.embedded.ports import is_free
from haulage.infra.embedded.process import LOG_BYTES
from haulage.infra.embedded.quarters import abandoned_folders, data_folder
from haulage.infra.servers import Servers
from haulage.infra.settings import Settings

MakeServers = Callable[..., Servers]


def connect(url: str | None) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url or "", autocommit=True)


def data_of(servers: Servers) -> Path:
    home = Home(servers.status().home)
    identity = home.identity()
    assert identity is not None
    return data_folder(home, identity)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT])
def test_postgresql_comes_back_whichever_way_it_ended_with_what_was_committed(servers: Servers, number: int) -> None:
    durable = Servers(Settings(home=servers.status().home))  # with the options everybody gets
    with durable as urls:
        with connect(urls.postgres_admin) as connection:
            connection.execute("drop table if exists kept; create table kept as select generate_series(1, 1000) as n")
        end(durable.status().postgres.pid, signal.Signals(number))
        assert durable.ensure() == urls
        with connect(urls.postgres_admin) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (1000,)


def test_an_orphan_that_does_not_notice_is_ended_before_postgresql_is_started_again(servers: Servers) -> None:
    with servers as urls, connect(urls.postgres_admin) as connection:
        orphan = connection.info.backend_pid
        os.kill(orphan, signal.SIGSTOP)
        end(servers.status().postgres.pid)
        assert lives(orphan)
        assert servers.ensure() == urls
        assert not lives(orphan)
        with connect(urls.postgres_admin) as again:
            assert again.execute("select 1").fetchone() == (1,)


def test_postgresql_starts_though_its_left_over_files_name_a_living_process(servers: Servers) -> None:
    with servers:
        data = data_of(servers)
        pid_file = (data / "postgres/postmaster.pid").read_text()
        port = pid_file.splitlines()[3]
        socket_lock = data / f"run/.s.PGSQL.{port}.lock"
        lock_text = socket_lock.read_text()
    # What is left where a killed postmaster stays a zombie, or another process got its number.
    foreign = str(os.getppid())
    for path, text in ((data / "postgres/postmaster.pid", pid_file), (socket_lock, lock_text)):
        path.write_text(text.replace(text.splitlines()[0], foreign, 1))
    with servers as urls, connect(urls.postgres_admin) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_nats_comes_back_after_a_kill_with_its_streams(servers: Servers) -> None:
    async def add() -> None:
        connection = await nats.connect(urls.nats)
        await connection.jetstream().add_stream(name="kept", subjects=["kept"])
        await connection.close()

    async def names() -> list[str | None]:
        connection = await nats.connect(urls.nats)
        streams = await connection.jetstream().streams_info()
        await connection.close()
        return [stream.config.name for stream in streams]

    with servers as urls:
        asyncio.run(add())
        end(servers.status().nats.pid)
        assert servers.ensure() == urls
        assert asyncio.run(names()) == ["kept"]


def test_both_servers_and_the_starter_killed_are_one_start_away(servers: Servers) -> None:
    with user_of(servers.status().home) as user:
        pids = pids_of(user)
    for pid in pids:
        end(pid)
    with servers as urls, connect(urls.postgres_admin) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert servers.status().nats.running is True


def test_two_who_look_after_dead_servers_at_once_start_one_pair(servers: Servers, make_servers: MakeServers) -> None:
    one = servers
    two = make_servers(home=one.status().home)
    with one as urls, two:
        end(one.status().postgres.pid)
        end(one.status().nats.pid)
        assert one.ensure() == two.ensure() == urls
        assert one.status().postgres == two.status().postgres
        assert one.status().nats == two.status().nats


def test_a_starter_killed_while_it_makes_the_database_is_followed_by_one_that_succeeds(
    make_servers: MakeServers,
) -> None:
    servers = make_servers()
    home = servers.status().home
    with user_of(home) as user:

        def half_made() -> bool:
            identity = Home(home).identity()
            folder = data_folder(Home(home), identity) if identity else None
            return folder is not None and any(folder.glob("postgres.new/PG_VERSION"))

        assert until(half_made, 30)
        user.kill()
    assert not (data_of(servers) / "postgres").exists()
    with servers as urls, connect(urls.postgres_admin) as connection:
        assert connection.info.dbname == "haulage"
        assert not (data_of(servers) / "postgres.new").exists()
        assert not (data_of(servers) / "postgres.password").exists()


def test_a_nats_port_taken_while_the_server_was_down_is_given_up_and_the_new_url_told(servers: Servers) -> None:
    with servers as urls:
        port = int(urls.nats.rpartition(":")[2])
        end(servers.status().nats.pid)
        assert until(lambda: is_free(port), 10)
        with socket.create_server(("127.0.0.1", port)):
            moved = servers.ensure()
        assert moved.nats != urls.nats
        assert moved.postgres_app == urls.postgres_app
        assert servers.ensure() == moved


def test_a_port_taken_between_the_look_and_the_start_is_given_up_too(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers as urls:
        told = servers.status().postgres.url or ""
    postgres, bus = int(told.rpartition(":")[2].partition("/")[0]), int(urls.nats.rpartition(":")[2])
    # The look is what is too early; the servers meet the ports as they are.
    monkeypatch.setattr("haulage.infra.embedded.ports.is_free", lambda _port: True)
    with socket.create_server(("127.0.0.1", postgres)), socket.create_server(("127.0.0.1", bus)), servers as moved:
        assert moved.nats != urls.nats
        with connect(moved.postgres_admin) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_server_of_another_program_on_our_port_is_not_taken_for_ours(servers: Servers) -> None:
    with servers as urls:
        port = int(urls.nats.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert servers.status().nats.running is False


def test_a_home_that_was_moved_goes_on_at_its_new_place(make_servers: MakeServers, tmp_path: Path) -> None:
    with make_servers(home=tmp_path / "home") as urls, connect(urls.postgres_admin) as connection:
        connection.execute("create table kept as select 1 as n")
    # There, the path of a socket would be too long.
    far = tmp_path / ("far away " * 10)
    far.mkdir()
    for old, new in (("home", "far"), ("far", "back")):
        places = {"home": tmp_path / "home", "far": far / "home", "back": tmp_path / "back"}
        places[old].rename(places[new])
        with make_servers(home=places[new]) as urls, connect(urls.postgres_admin) as connection:
            assert connection.execute("select n from kept").fetchone() == (1,)


def test_a_home_moved_under_its_servers_is_taken_over_once_its_users_are_gone(
    make_servers: MakeServers, tmp_path: Path
) -> None:
    with user_of(tmp_path / "old") as user:
        old = pids_of(user)
        (tmp_path / "old").rename(tmp_path / "new")
        moved = make_servers(home=tmp_path / "new")
        with pytest.raises(InUseError, match=rf"was moved.* in use by process {user.pid} "):
            moved.acquire()
    with moved as urls, connect(urls.postgres_admin) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert [lives(pid) for pid in old] == [False, False]


def test_a_copy_of_a_home_is_refused_by_name(servers: Servers, make_servers: MakeServers, tmp_path: Path) -> None:
    with servers:
        pass
    original = servers.status().home
    shutil.copytree(original, tmp_path / "copy", ignore=shutil.ignore_patterns("run", "postgres", "nats"))
    with pytest.raises(HomeError, match=rf"copy of {original}"):
        make_servers(home=tmp_path / "copy").acquire()


def test_a_home_known_by_two_names_is_one_home(servers: Servers, make_servers: MakeServers, tmp_path: Path) -> None:
    with servers as urls:
        (tmp_path / "other-name").symlink_to(servers.status().home)
        with make_servers(home=tmp_path / "other-name") as same:
            assert same.nats == urls.nats


def test_a_home_that_cannot_be_written_says_so_and_what_to_do(make_servers: MakeServers) -> None:
    # Not even root can make a folder there.
    with pytest.raises(HomeError, match=r"/sys/haulage can't be used: .* HAULAGE_HOME"):
        make_servers(home=Path("/sys/haulage")).acquire()


def test_a_home_that_is_a_file_says_so(make_servers: MakeServers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=rf"{tmp_path}/file can't be used"):
        make_servers(home=tmp_path / "file").acquire()


def test_a_home_of_another_user_is_refused(make_servers: MakeServers) -> None:
    servers = make_servers()
    with servers:
        pass
    edit(servers.status().home / "home.json", uid=os.geteuid() + 1)
    with pytest.raises(HomeError, match=f"belongs to user id {os.geteuid() + 1}"):
        servers.acquire()
    edit(servers.status().home / "home.json", uid=os.geteuid())


def test_a_damaged_home_says_which_file(servers: Servers) -> None:
    with servers:
        pass
    path = servers.status().home / "ports.json"
    path.write_text("{")
    with pytest.raises(HomeError, match=r"ports\.json is damaged"):
        servers.acquire()
    path.unlink()
    with servers as urls, connect(urls.postgres_admin):
        pass


def test_servers_that_nobody_knows_the_ports_of_any_more_are_started_anew(servers: Servers) -> None:
    with servers:
        (servers.status().home / "ports.json").unlink()
        urls = servers.ensure()
        with connect(urls.postgres_admin) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert servers.status().nats.running is True


def test_lost_secrets_are_not_replaced_by_others_that_do_not_fit(make_servers: MakeServers) -> None:
    servers = make_servers()
    with servers:
        pass
    (servers.status().home / "secrets.json").unlink()
    with pytest.raises(HomeError, match=r"secrets\.json is gone"):
        servers.acquire()


def test_lost_data_is_not_replaced_by_an_empty_database(make_servers: MakeServers) -> None:
    servers = make_servers()
    with servers:
        pass
    shutil.rmtree(data_of(servers) / "postgres")
    with pytest.raises(HomeError, match="which is gone"):
        servers.acquire()


def test_a_server_that_can_not_start_says_why_and_leaves_nothing_running(servers: Servers) -> None:
    with servers:
        pass
    wrong = Servers(Settings(home=servers.status().home), postgres_options={"work_mem": "nonsense"})
    with pytest.raises(EmbeddedError, match=r'(?s)PostgreSQL did not start.*"work_mem"'):
        wrong.acquire()
    status = servers.status()
    assert (status.postgres.running, status.nats.running, status.users) == (False, False, ())


def test_a_long_log_is_set_aside_at_the_next_start(servers: Servers) -> None:
    with servers:
        pass
    log = servers.status().home / "log/postgres.log"
    with log.open("ab") as file:
        file.truncate(LOG_BYTES + 1)
    with servers:
        assert log.stat().st_size < LOG_BYTES
        assert log.with_suffix(".log.1").stat().st_size == LOG_BYTES + 1


def test_a_home_removed_under_its_user_is_made_anew(make_servers: MakeServers) -> None:
    servers = make_servers()
    with servers:
        end(servers.status().postgres.pid)
        end(servers.status().nats.pid)
        shutil.rmtree(data_of(servers))
        shutil.rmtree(servers.status().home, ignore_errors=True)
        urls = servers.ensure()
        with connect(urls.postgres_admin) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert len(servers.status().users) == 1


def test_a_home_removed_for_good_is_not_made_again_by_leaving_it(make_servers: MakeServers) -> None:
    servers = make_servers()
    servers.acquire()
    end(servers.status().postgres.pid)
    end(servers.status().nats.pid)
    shutil.rmtree(data_of(servers))
    shutil.rmtree(servers.status().home, ignore_errors=True)
    servers.release()
    assert not servers.status().home.exists()


def test_roots_data_of_a_home_that_is_gone_is_told_of_and_kept(make_servers: MakeServers) -> None:
    servers = make_servers()
    with servers:
        pass
    data, home = data_of(servers), servers.status().home
    shutil.rmtree(home)
    if os.geteuid() == 0:
        assert (data, str(home)) in abandoned_folders()
        assert (data / "postgres").is_dir()
        shutil.rmtree(data)
        assert data not in [folder for folder, _ in abandoned_folders()]
    else:
        assert abandoned_folders() == []  # an ordinary user's data went with the home
