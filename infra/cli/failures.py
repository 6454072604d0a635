"""How commands end when they can't do what was asked: a sentence on standard error and the right exit code.

Errors that are expected (`HaulageError`) are their own sentence. Anything else is a fault of ours: one sentence, and
the traceback in a file of the home, where there is one, so that it can be sent to us.
"""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from haulage.domain.errors import HaulageError
from haulage.infra.cli.exits import INTERRUPTED, Exit, after_error
from haulage.infra.cli.signals import TerminatedError


class UsageError(HaulageError):
    """What was typed can't be understood."""

    code = "usage"


class TimeOutError(HaulageError):
    """The time that was given is over."""

    code = "time_out"


def guard(command_line: Callable[[], object]) -> int:
    """Run the command line; its exit code. Never a traceback, unless `--debug` is among the arguments."""
    try:
        command_line()
    except SystemExit as end:
        return _code(end)
    except KeyboardInterrupt as interrupt:
        return interrupted(interrupt)
    except BrokenPipeError:
        # Whoever read our output has had enough. Nothing more may be written, not even by the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.ERROR
    except Exception as error:  # noqa: BLE001 - the rim: whatever it is ends as a sentence and a code
        return report(error, debug="--debug" in sys.argv)
    return Exit.COMPLETED


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """The exit code after Ctrl-C, or after a signal that means the same."""
    return interrupt.exit_code if isinstance(interrupt, TerminatedError) else INTERRUPTED


def report(error: Exception, *, debug: bool = False) -> int:
    """Say what happened; the exit code for it."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, HaulageError):
        complain(str(error))
        return after_error(error.code)
    complain(f"Something went wrong that should not: {type(error).__name__}: {_first_line(error)}")
    if not debug:
        complain(f"The whole story is in {_keep(error)}; please report it. `haulage --debug …` shows it at once.")
    return Exit.ERROR


def complain(sentence: str) -> None:
    """One sentence (or several lines of them) on standard error, marked as an error."""
    print(f"haulage: {sentence}", file=sys.stderr)  # noqa: T201 - this is how the command line speaks


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no further words"])[0][:300]


def _keep(error: Exception) -> Path:
    """Write the traceback where it can be found; a home is used, never made, for that."""
    home = Path(os.environ.get("HAULAGE_HOME") or ".haulage").expanduser().absolute()
    log = home / "log"
    folder = log if log.is_dir() and os.access(log, os.W_OK) else Path(tempfile.gettempdir())
    path = folder / f"haulage-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        path.write_text("".join(traceback.format_exception(error)))
    except OSError:  # a full disk, say: then the sentence has to do
        return Path(os.devnull)
    return path


def _code(end: SystemExit) -> int:
    if end.code is None:
        return Exit.COMPLETED
    return end.code if isinstance(end.code, int) else Exit.ERROR
