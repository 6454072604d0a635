"""A process that uses the servers of a home until its standard input ends: `server_user.py HOME POSTGRES_OPTIONS`.

Prints the process ids of PostgreSQL and of the NATS server once it has them.
"""

import json
import sys

from haulage.infra.servers import Servers
from haulage.infra.settings import Settings

servers = Servers(Settings(home=sys.argv[1]), postgres_options=json.loads(sys.argv[2]))
with servers:
    status = servers.status()
    print(status.postgres.pid, status.nats.pid, flush=True)
    sys.stdin.read()
