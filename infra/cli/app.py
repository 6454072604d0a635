"""The command line as a whole: its commands, in the order in which the help shows them."""

from typing import Annotated

import typer

from haulage.infra.cli.commands import keep, look, measure, work
from haulage.infra.cli.exits import MEANINGS, name

EPILOG = "Exit codes: " + " · ".join(f"{code.value} {name(code)}" for code in MEANINGS)

app = typer.Typer(
    help="Bulk operations as event-sourced sagas. Begin with `haulage demo`.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"haulage {version('haulage')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


for group in (work, look, keep, measure):
    group.add_to(app)
