"""Options and arguments that several commands have, in the same words everywhere."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from haulage.infra.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

Operation = Annotated[
    str, typer.Argument(metavar="OPERATION", help="An operation's id, the first 6 characters of it or more, or `last`.")
]

Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="TENANT", help="Whose it is; default: HAULAGE_TENANT, else `default`."),
]

TimeOut = Annotated[
    float | None,
    typer.Option("--time-out", metavar="SECONDS", min=0, help="Stop following after so long, with exit code 6."),
]


def settings(**changes: Any) -> "Settings":
    """The settings of this process, with what was typed over them; what is None was not typed."""
    from haulage.infra.logs import configure_logs
    from haulage.infra.settings import load_settings

    # Nothing but data may go to standard output, and what is only worth a warning would disturb the bar.
    configure_logs("error")
    return load_settings(**{name: value for name, value in changes.items() if value is not None})
