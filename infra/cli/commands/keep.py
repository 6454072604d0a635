"""Commands that keep the system: up, down, worker, control, status, doctor, migrate, projections, directory."""

from typing import Annotated

import typer

from haulage.infra.cli import options

PANEL = "System"

LogLevel = Annotated[
    str, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.", show_default=True)
]
Attached = Annotated[bool, typer.Option("--attached", hidden=True, help="Stop when standard input closes.")]


def up(log_level: LogLevel = "info") -> None:
    """Run everything until Ctrl-C; what dies is started again, and unfinished operations go on."""
    from haulage.infra.cli.up import up

    raise typer.Exit(up(options.settings(), log_level=log_level))


def down(
    force: Annotated[bool, typer.Option("--force", help="Also while other processes use them.")] = False,
) -> None:
    """Stop embedded servers that were left behind."""
    from haulage.infra.cli.up import down

    down(options.settings(), force=force)


def worker(attached: Attached = False, log_level: LogLevel = "info") -> None:
    """Run one worker, on the servers that HAULAGE_POSTGRES_URL and HAULAGE_NATS_URL name."""
    from haulage.infra.cli.up import worker

    worker(options.settings(), attached=attached, log_level=log_level)


def control(attached: Attached = False, log_level: LogLevel = "info") -> None:
    """Run one control process: takes in commands, decides what comes next, keeps the views and the bus up to date."""
    from haulage.infra.cli.up import control

    control(options.settings(), attached=attached, log_level=log_level)


def status(as_json: options.AsJson = False) -> None:
    """The servers and processes of this home. With --json, their URLs in full, passwords included."""
    from haulage.infra.cli.status import status

    status(options.settings(), as_json=as_json)


def doctor(as_json: options.AsJson = False) -> None:
    """Look for problems and say what to do about each; exit code 1 where there are any."""
    from haulage.infra.cli.doctor import doctor

    raise typer.Exit(doctor(options.settings(), as_json=as_json))


def migrate(as_json: options.AsJson = False) -> None:
    """Bring the database's schema to this version; needs HAULAGE_POSTGRES_ADMIN_URL where a URL is set."""
    from haulage.infra.cli.upkeep import migrate

    migrate(options.settings(), as_json=as_json)


projections = typer.Typer(no_args_is_help=True, help="The views made from the log.")


@projections.command("list")
def projections_list(as_json: options.AsJson = False) -> None:
    """Each view, how far it is, and why it stands still where it does."""
    from haulage.infra.cli.upkeep import list_projections

    list_projections(options.settings(), as_json=as_json)


@projections.command("rebuild")
def projections_rebuild(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which view; `haulage projections list` names them.")],
    as_json: options.AsJson = False,
) -> None:
    """Empty a view and fill it from the log again."""
    from haulage.infra.cli.upkeep import rebuild_projection

    rebuild_projection(options.settings(), name, as_json=as_json)


directory = typer.Typer(no_args_is_help=True, help="The reference directory: organizations and their users.")
organization = typer.Typer(no_args_is_help=True, help="Organizations.")
directory.add_typer(organization, name="organization")


@organization.command("create")
def organization_create(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Its short name, such as `acme`.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="In full; default: the slug.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Create an organization."""
    from haulage.infra.cli.organizations import create

    create(options.settings(), slug, name=name, as_json=as_json)


@organization.command("list")
def organization_list(as_json: options.AsJson = False) -> None:
    """The organizations there are."""
    from haulage.infra.cli.organizations import list_organizations

    list_organizations(options.settings(), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (up, down, worker, control, status, doctor, migrate):
        app.command(rich_help_panel=PANEL)(command)
    app.add_typer(projections, name="projections", rich_help_panel=PANEL)
    app.add_typer(directory, name="directory", rich_help_panel=PANEL)
