"""Commands that answer questions: list, show, timeline, history, item, rejects, kinds."""

from pathlib import Path
from typing import Annotated

import typer

from haulage.infra.cli import options

PANEL = "Questions"


def list_(
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="Only of this tenant.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Only of this kind.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only in this status; several times for several."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only since then: 2026-11-20, or `2h` for hours ago."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    after: Annotated[
        str | None, typer.Option("--after", metavar="OPERATION", help="Go on after the last one of the page before.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """The operations, newest first."""
    from haulage.infra.cli.showing import filters, list_operations

    wanted = filters(tenant, kind, status or [], since)
    list_operations(options.settings(), wanted, limit=limit, after=after, as_json=as_json)


def show(operation: options.Operation, as_json: options.AsJson = False) -> None:
    """One operation: where it stands, its counts, what was asked for."""
    from haulage.infra.cli.showing import show

    show(options.settings(), operation, as_json=as_json)


def timeline(operation: options.Operation, as_json: options.AsJson = False) -> None:
    """What happened to an operation, condensed to a page."""
    from haulage.infra.cli.showing import timeline

    timeline(options.settings(), operation, as_json=as_json)


def history(
    operation: options.Operation,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME|VERSION", help="The state as it was then, folded from the log."),
    ] = None,
    chunks: Annotated[bool, typer.Option("--chunks/--no-chunks", help="With its chunks' events, or without.")] = True,
    as_json: options.AsJson = False,
) -> None:
    """The events of an operation, oldest first."""
    from haulage.infra.cli.history import history

    history(options.settings(), operation, at=at, chunks=chunks, as_json=as_json)


def item(
    operation: options.Operation,
    ordinal: Annotated[int, typer.Argument(metavar="ORDINAL", min=1, help="Which item; the first one is 1.")],
    as_json: options.AsJson = False,
) -> None:
    """What happened to one item, and what it was."""
    from haulage.infra.cli.items import item

    item(options.settings(), operation, ordinal, as_json=as_json)


def rejects(
    operation: options.Operation,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write them.")],
    file_format: Annotated[
        str | None,
        typer.Option("--format", metavar="csv|ndjson", help="Default: as FILE's name says, else as the input was."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the rejected items to a file: each as it was, and why. Fixed, the file can be run again."""
    from haulage.infra.cli.items import rejects

    rejects(options.settings(), operation, output, file_format=file_format, as_json=as_json)


def kinds(as_json: options.AsJson = False) -> None:
    """The kinds of operations there are, with their parameters."""
    from haulage.infra.cli.kinds import kinds

    kinds(as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("list", rich_help_panel=PANEL)(list_)
    for command in (show, timeline, history, item, rejects, kinds):
        app.command(rich_help_panel=PANEL)(command)
