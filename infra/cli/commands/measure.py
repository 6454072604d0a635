"""Commands that measure: bench."""

from typing import Annotated

import typer

from haulage.infra.cli import options

bench = typer.Typer(no_args_is_help=True, help="Measure Haulage beside raw SQL and a peer, as ratios in one run.")


@bench.command("import")
def bench_import(
    rows: Annotated[int, typer.Option("--rows", min=1000, metavar="N", help="Rows of the speed runs.")] = 1_000_000,
    repeat: Annotated[int, typer.Option("--repeat", min=1, metavar="N", help="Rounds; medians are shown.")] = 3,
    large_rows: Annotated[
        int, typer.Option("--large-rows", min=0, metavar="N", help="Rows of the memory run; 0 leaves it out.")
    ] = 10_000_000,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="The same work done with DBOS.")] = True,
    as_json: options.AsJson = False,
) -> None:
    """The import of users: P1, P2 and P3 of docs/performance.md. Takes minutes; give it a quiet machine."""
    from haulage.infra.cli.bench import bench_import

    bench_import(options.settings(), rows=rows, repeat=repeat, large_rows=large_rows, peer=peer, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(bench, name="bench", rich_help_panel="System")
