"""What a projection is to the projector: a fold from `projections/`, and the rows it is kept in."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import Connection

from haulage.domain.event import Recorded
from haulage.infra.postgres.views import ledger_rows, progress_rows, timeline_rows
from haulage.infra.postgres.views.rows import Table
from haulage.projections import ledger, progress, timeline


class Rows(Protocol):
    """The rows of a view: a module of `infra/postgres/views`."""

    @property
    def TABLE(self) -> Table:  # noqa: N802 - a module's constant
        """Where they are."""

    def load(self, connection: Connection[Any], events: Sequence[Recorded]) -> dict[Any, Any]:
        """The rows that folding `events` will look for, by key."""

    def save(self, connection: Connection[Any], views: dict[Any, Any], known: Set[Any]) -> None:
        """Write rows; those whose key is in `known` were loaded."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A view: its name (also its checkpoint's), its fold, and where its rows are."""

    name: str
    fold: Callable[[Any, Recorded], Any]
    rows: Rows


PROJECTIONS = (
    Projection(progress.NAME, progress.fold, progress_rows),
    Projection(ledger.NAME, ledger.fold, ledger_rows),
    Projection(timeline.NAME, timeline.fold, timeline_rows),
)
