"""Waits for the end of a test session, then stops and removes every home below the folder it was given.

A process of its own, so that servers don't outlive a session that is killed. The end is that of standard input, which
the session holds open for as long as it lives.
"""

import shutil
import sys
from pathlib import Path

sys.stdin.read()

from haulage.domain.errors import HaulageError  # noqa: E402 - nothing to import while there is nothing to do
from haulage.infra.embedded.home import Home  # noqa: E402
from haulage.infra.embedded.quarters import data_folder  # noqa: E402
from haulage.infra.servers import Servers  # noqa: E402
from haulage.infra.settings import Settings  # noqa: E402

for found in list(Path(sys.argv[1]).rglob("home.json")):
    home = Home(found.parent)
    try:
        identity = home.identity()
        if identity is not None:
            Servers(Settings(home=home.path)).stop(force=True)
            data = data_folder(home, identity)
            if (data / "run").is_symlink():  # sockets elsewhere, since this path was too long for them
                shutil.rmtree((data / "run").readlink(), ignore_errors=True)
            shutil.rmtree(data, ignore_errors=True)
    except HaulageError as error:  # the next home, then
        print(f"{home.path} was left behind: {error}", file=sys.stderr)
