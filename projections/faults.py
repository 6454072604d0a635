"""What stops a projection: an event it has no rule for, or one that cannot follow what it knows.

Neither is skipped, since a view with a hole in it looks like one without.
"""

from typing import ClassVar

from haulage.domain.errors import HaulageError
from haulage.domain.event import Recorded


class FoldError(HaulageError):
    """An event that a view cannot take in."""

    code: ClassVar[str] = "fold"


def storable(text: str) -> str:
    """`text` without the one character that PostgreSQL has no place for: somebody's words must not stop a view."""
    return text.replace("\0", "\ufffd")


def unknown_event(view: str, recorded: Recorded) -> FoldError:
    """The error about an event that `view` has no rule for."""
    return FoldError(
        f"The projection `{view}` has no rule for {recorded.event.topic} at position {recorded.position}. It was "
        "written by a newer version of Haulage: install that one here, and the projection goes on by itself."
    )


def never_requested(view: str, recorded: Recorded) -> FoldError:
    """The error about an event of an operation whose beginning `view` has not seen."""
    return FoldError(
        f"The projection `{view}` met {recorded.event.topic} at position {recorded.position} of operation "
        f"{recorded.context.operation}, which it has not seen begin. Run `haulage projections rebuild {view}`."
    )


def not_applied(view: str, recorded: Recorded) -> FoldError:
    """The error about the compensation of a chunk that `view` has not seen applied."""
    return FoldError(
        f"The projection `{view}` met {recorded.event.topic} at position {recorded.position} of operation "
        f"{recorded.context.operation}, about a chunk it has not seen applied. Run `haulage projections rebuild "
        f"{view}`."
    )
