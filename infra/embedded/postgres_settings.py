"""How the embedded PostgreSQL is set up: written anew at each start; `ALTER SYSTEM` in the server overrides it.

For a machine of few cores that has other things to do. What makes commits durable is on, whatever it costs.
"""

from collections.abc import Mapping
from pathlib import Path

from haulage.infra.embedded.ports import HOST

_SETTINGS = {
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    # Durable: an acknowledged commit survives a crash of the machine.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Bulk loads: room in memory, few checkpoints, recycled log files instead of new ones.
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "wal_buffers": "16MB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Many short statements: compiling one takes longer than running it.
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    # The log is for the server's own health. Refused statements are told to whoever sent them; here they would only
    # leave people's data (a duplicate email) in a file that no erasure reaches.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
}


def server_settings(port: int, sockets: Path, options: Mapping[str, str]) -> str:
    """The text of `postgresql.conf`; `options` go over everything else."""
    where = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')),
        "unix_socket_permissions": "0700",
    }
    lines = (f"{name} = {_quoted(value)}" for name, value in {**where, **_SETTINGS, **options}.items())
    return "\n".join(["# Written by Haulage at each start; change settings with ALTER SYSTEM.", *lines, ""])


def access_rules() -> str:
    """The text of `pg_hba.conf`: this machine only, and never without a password."""
    return f"local all all scram-sha-256\nhost all all {HOST}/32 scram-sha-256\n"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
