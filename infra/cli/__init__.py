"""The command line. Read `app.py` first, then `commands/` for what can be typed; each command's doing is beside it."""

import io
import sys


def main() -> None:
    """The entry point `haulage`: runs one command and exits with one of the codes in `exits.py`."""
    from haulage.infra.cli.app import app
    from haulage.infra.cli.failures import guard

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows an escape rather than ending the command.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(guard(app))
