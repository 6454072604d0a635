"""`haulage status`: the servers, who uses them, and the processes at work. Starts nothing and makes nothing."""

from typing import Any

import psycopg

from haulage.domain.errors import HaulageError
from haulage.infra.cli import wording
from haulage.infra.cli.access import has_home
from haulage.infra.cli.terminal import emit, hint, write, write_table
from haulage.infra.postgres.database import Database
from haulage.infra.postgres.sessions import living
from haulage.infra.servers import Servers, ServersStatus, ServerStatus
from haulage.infra.settings import Settings, redacted


def status(settings: Settings, *, as_json: bool) -> None:
    """Say how things are. In JSON the URLs are whole, since they are asked for to be used; people get them redacted."""
    servers = Servers(settings).status()
    processes = _processes(servers)
    if as_json:
        emit(_document(servers, processes))
        return
    _write_servers(servers)
    if processes:
        write()
        write_table(["process", "host", "pid", "definitions"], [_row(process) for process in processes], right=["pid"])
    elif not has_home(settings):
        hint("There is no home here yet; `haulage demo` or `haulage up` makes one.")
    else:
        hint("No process of Haulage is at work. `haulage up` runs everything.")


def _processes(servers: ServersStatus) -> list[dict[str, Any]]:
    """Control processes and workers that live, as the database knows them; none where it can't be asked."""
    if servers.postgres.url is None or servers.postgres.running is False:
        return []
    try:
        with Database(servers.postgres.url, size=1) as database, database.connection() as connection:
            found = living(connection)
    except (HaulageError, psycopg.Error) as error:
        hint(f"The processes at work are not known: {str(error).strip().splitlines()[0]}")
        return []
    return [
        {"session": str(session), "role": role, "host": host, "pid": pid, "definitions": definitions}
        for session, role, host, pid, definitions in found
    ]


def _document(servers: ServersStatus, processes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "home": str(servers.home),
        "up": any(process["role"] == "control" for process in processes),
        "postgres": _server_document(servers.postgres),
        "nats": _server_document(servers.nats),
        "users": [{"pid": user.pid, "command": user.command, "since": user.since} for user in servers.users],
        "processes": processes,
    }


def _server_document(server: ServerStatus) -> dict[str, Any]:
    return {"embedded": server.embedded, "running": server.running, "url": server.url, "pid": server.pid}


def _write_servers(servers: ServersStatus) -> None:
    rows = []
    for name, server in (("PostgreSQL", servers.postgres), ("NATS", servers.nats)):
        state = "yours" if server.running is None else "running" if server.running else "stopped"
        rows.append([name, state, str(server.pid or ""), redacted(server.url) if server.url else ""])
    write(f"home {servers.home}")
    write()
    write_table(["server", "state", "pid", "url"], rows, right=["pid"])
    if servers.users:
        write()
        users = [[str(user.pid), user.command, wording.when_clock(user.since)] for user in servers.users]
        write_table(["pid", "in use by", "since"], users, right=["pid"])


def _row(process: dict[str, Any]) -> list[str]:
    return [process["role"], process["host"], str(process["pid"]), ", ".join(process["definitions"])]
