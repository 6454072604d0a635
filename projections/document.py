"""Progress as JSON: the same document on the bus, in the progress bucket, over HTTP and from the command line."""

from datetime import datetime
from typing import Any

from haulage.projections.estimate import Estimate, estimate
from haulage.projections.progress import Progress


def document(progress: Progress, now: datetime | None = None) -> dict[str, Any]:
    """JSON values only; times are ISO 8601, and the position a decimal string, since it passes 2^53.

    `rate` is items a second of work; it and `remaining` are null where they are not known (see `estimate`).
    """
    return {
        "operation": str(progress.operation),
        "tenant": progress.tenant,
        "kind": progress.kind,
        "definition_version": progress.definition_version,
        "actor": progress.actor,
        "priority": progress.priority,
        "status": str(progress.status),
        "steps": list(progress.steps),
        "step": progress.step,
        "items": {
            "total": progress.total,
            "done": progress.done,
            "succeeded": progress.succeeded,
            "skipped": progress.skipped,
            "rejected": progress.rejected,
        },
        "applied": progress.applied,
        "compensated": progress.compensated,
        "conflicting": progress.conflicting,
        "chunks": progress.chunks,
        "failed_attempts": progress.failed_attempts,
        "splits": progress.splits,
        "error": {"code": progress.error_code, "message": progress.error} if progress.error_code else None,
        "rate": progress.pace.rate,
        "remaining": _remaining(estimate(progress, now)),
        "working_seconds": progress.working_seconds,
        "requested_at": progress.requested_at.isoformat(),
        "started_at": _time(progress.started_at),
        "updated_at": progress.updated_at.isoformat(),
        "ended_at": _time(progress.ended_at),
        "position": str(progress.position),
    }


def _remaining(found: Estimate | None) -> dict[str, float | int] | None:
    if found is None:
        return None
    return {
        "p50_seconds": found.p50_seconds,
        "p90_seconds": found.p90_seconds,
        "later_steps": found.later_steps,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
