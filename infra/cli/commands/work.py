"""Commands that get work done: demo, run, watch, resume."""

from pathlib import Path
from typing import Annotated

import typer

from haulage.infra.cli import options

PANEL = "Work"


def demo(
    rows: Annotated[int, typer.Option("--rows", min=1, max=100_000_000, help="How many users to import.")] = 100_000,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other users.")] = 1,
    as_json: options.AsJson = False,
) -> None:
    """Make a file of users, with some bad rows, and import it into a new organization."""
    from haulage.infra.cli.demo import demo

    raise typer.Exit(demo(options.settings(), rows=rows, seed=seed, as_json=as_json))


def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Which operation; `haulage kinds` lists them.")],
    input_file: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="FILE", help="The items, as CSV or NDJSON.")
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", metavar="csv|ndjson", help="Of FILE; default: as its name says.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter; several times for several."),
    ] = None,
    tenant: options.Tenant = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="The same key again is the same operation, not a second one."),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", min=-1000, max=1000, help="Higher goes first.")] = 0,
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Hand the file over through NATS, or name its path to the workers; default: the path where the "
            "servers are embedded, else through NATS.",
            show_default=False,
        ),
    ] = None,
    time_out: options.TimeOut = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow; needs `haulage up`.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Start an operation and follow it to its end."""
    from haulage.infra.cli.parameters import parse_parameters
    from haulage.infra.cli.run import run
    from haulage.infra.cli.submitting import Order

    order = Order(
        kind=kind,
        parameters=parse_parameters(parameters or []),
        input_file=input_file,
        file_format=file_format,
        key=key,
        priority=priority,
        upload=upload,
    )
    raise typer.Exit(run(options.settings(tenant=tenant), order, time_out=time_out, detach=detach, as_json=as_json))


def watch(operation: options.Operation, time_out: options.TimeOut = None, as_json: options.AsJson = False) -> None:
    """Follow an operation to its end. Changes nothing, and Ctrl-C only ends the watching."""
    from haulage.infra.cli.watching import watch

    raise typer.Exit(watch(options.settings(), operation, time_out=time_out, as_json=as_json))


def resume(
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="OPERATION",
            help="Which one, paused or unfinished; default: all that are unfinished.",
            show_default=False,
        ),
    ] = None,
    time_out: options.TimeOut = None,
    as_json: options.AsJson = False,
) -> None:
    """Go on with what is unfinished: bring servers and workers, follow to the end. Ends the pause of OPERATION."""
    from haulage.infra.cli.watching import resume

    raise typer.Exit(resume(options.settings(), operation, time_out=time_out, as_json=as_json))


Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history for good.", show_default=False)
]


def pause(
    operation: options.Operation,
    reason: Reason = None,
    time_out: options.TimeOut = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop an operation once the chunks in flight have ended; `resume OPERATION` lets it go on."""
    _steer("pause", operation, reason, time_out, as_json)


def cancel(
    operation: options.Operation,
    reason: Reason = None,
    time_out: options.TimeOut = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop an operation for good; what it has done stays."""
    _steer("cancel", operation, reason, time_out, as_json)


def roll_back(
    operation: options.Operation,
    reason: Reason = None,
    time_out: options.TimeOut = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop an operation that has not ended, and undo what it has done, newest first."""
    _steer("roll-back", operation, reason, time_out, as_json)


def close(
    operation: options.Operation,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What was done about what was left.")],
    time_out: options.TimeOut = None,
    as_json: options.AsJson = False,
) -> None:
    """End an operation that needs attention, when you have seen to what its rollback had to leave."""
    _steer("close", operation, reason, time_out, as_json)


def _steer(verb: str, operation: str, reason: str | None, time_out: float | None, as_json: bool) -> None:
    from haulage.infra.cli.steering import steer

    raise typer.Exit(steer(options.settings(), verb, operation, reason=reason, time_out=time_out, as_json=as_json))


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (demo, run, watch, resume, pause, cancel, close):
        app.command(rich_help_panel=PANEL)(command)
    app.command("roll-back", rich_help_panel=PANEL)(roll_back)
