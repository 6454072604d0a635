"""The two ends of a terminal: data goes to standard output, everything else to standard error.

With `--json`, data is one JSON object, or one a line. Otherwise it is text for people: as a table for the width of a
terminal, and never cut where there is none, so that it can be piped.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from haulage.infra.cli.wording import STYLES, status

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 100_000
"""Where there is no terminal nothing is ever cut or wrapped."""


@cache
def out() -> "Console":
    """Standard output, for people. Colour only at a terminal, and not where NO_COLOR is set."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


@cache
def err() -> "Console":
    """Standard error, for people."""
    from rich.console import Console

    width = None if sys.stderr.isatty() else PIPE_WIDTH
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=width is not None, width=width)


def emit(document: Any) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(", ", ": ")) + "\n")
    sys.stdout.flush()


def emit_lines(documents: Iterable[Any]) -> None:
    """One JSON object a line."""
    for document in documents:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(", ", ": ")) + "\n")
    sys.stdout.flush()


def write(text: str = "") -> None:
    """A line of data for people."""
    out().print(text)


def write_sentence(text: str, indent: int) -> None:
    """Words for people: at a terminal wrapped between them, and further in than where they begin."""
    from rich.text import Text

    console = out()
    if not console.is_terminal:
        write(" " * indent + text)
        return
    lines = Text(text).wrap(console, max(20, console.width - indent - 2))
    for number, line in enumerate(lines):
        write(" " * (indent + 2 * (number > 0)) + line.plain)


def hint(text: str) -> None:
    """A line that is no data: what to do next, what is being waited for."""
    err().print(text)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table without lines; the columns named in `right` hold numbers. A column `status` has colours."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text(status(cell), STYLES.get(cell, "")) if name == "status" else Text(cell)
                for name, cell in zip(columns, row, strict=True)
            )
        )
    console = out()
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        # Rich fills the last column, too.
        sys.stdout.write(line.rstrip() + "\n")


def write_facts(facts: Mapping[str, str]) -> None:
    """Names and values below each other; a fact without a value is left out."""
    width = max((len(name) for name, value in facts.items() if value), default=0)
    for name, value in facts.items():
        if value:
            write(f"{name:<{width}}  {value}")
