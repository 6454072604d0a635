"""`haulage demo`: everything once, for somebody who has just arrived."""

import shutil
import sys
from pathlib import Path
from uuid import UUID

from haulage.domain.errors import HaulageError
from haulage.infra.bootstrap import Parts
from haulage.infra.cli.bar import short
from haulage.infra.cli.demo_file import write_demo_file
from haulage.infra.cli.exits import Exit
from haulage.infra.cli.organizations import create_fresh
from haulage.infra.cli.run import folder_in_home, see_through
from haulage.infra.cli.running import running
from haulage.infra.cli.submitting import Order, start
from haulage.infra.cli.terminal import hint
from haulage.infra.cli.wording import shown
from haulage.infra.postgres import views
from haulage.infra.settings import Settings

KIND = "import-users"
SLUG = "demo"


def demo(settings: Settings, *, rows: int, seed: int, as_json: bool) -> int:
    """Make a file, import it, say what to try next; the exit code, in which the bad rows, made on purpose, are well.

    Each time it is another organization (`demo`, `demo-2`, …), at whose domain the addresses are: a repeat imports as
    many users again, rather than reject them all as known.
    """
    with running(settings, bring=True) as system:
        slug = create_fresh(system.parts, SLUG)
        path = folder_in_home(settings, "demo") / f"{slug}.csv"
        hint(f"Writing {rows:,} users to {shown(path)}, some of them bad on purpose …")
        try:
            made = write_demo_file(path, rows, f"{slug}.example", seed)
        except OSError as error:
            raise HaulageError(
                f"{path} can't be written: {error.strerror}. Free some space, or take fewer rows."
            ) from error
        hint(f"Importing them into the new organization `{slug}`; {made.bad:,} are bad.")
        operation = start(system, Order(kind=KIND, parameters={"organization": slug}, input_file=path))
        code = see_through(system, operation, time_out=None, as_json=as_json)
        _say_what_next(system.parts, operation)
    return Exit.COMPLETED if code is Exit.REJECTS else code


def _say_what_next(parts: Parts, operation: UUID) -> None:
    with parts.database.connection() as connection:
        rejected = next(views.rejects(connection, operation), None)
    me, name = program(), short(operation)
    tries = {
        f"{me} show {name}": "where it stands, and its counts",
        f"{me} history {name}": "every event of it, as the log has them",
    }
    if rejected is not None:
        tries[f"{me} item {name} {rejected.ordinal}"] = "why that item was rejected, and what it was"
    hint("\nTry next:")
    for command, says in tries.items():
        hint(f"  {command:<{max(map(len, tries))}}  {says}")


def program() -> str:
    """What to type to get here again: `haulage` where that is found, else the path to it."""
    if shutil.which("haulage") or not sys.argv[0].endswith("haulage"):
        return "haulage"
    return shown(Path(sys.argv[0]))
