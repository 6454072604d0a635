"""What readers ask of the views; the modules in here also keep their rows for the projector."""

from haulage.infra.postgres.views.ledger_rows import Reject, ledger_item, rejects
from haulage.infra.postgres.views.progress_rows import (
    Filters,
    PageKey,
    changed_since,
    operations,
    page_key,
    progress,
)
from haulage.infra.postgres.views.timeline_rows import timeline

__all__ = [
    "Filters",
    "PageKey",
    "Reject",
    "changed_since",
    "ledger_item",
    "operations",
    "page_key",
    "progress",
    "rejects",
    "timeline",
]
