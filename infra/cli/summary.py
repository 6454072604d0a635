"""How an operation ended, for people and as the one JSON object of `haulage run --json`."""

from pathlib import Path
from typing import Any

from haulage.domain.status import Status
from haulage.infra.cli import wording
from haulage.projections.progress import Progress


def seconds(progress: Progress) -> float:
    """From the request to the end (or, before one, to the last event), on the database's clock."""
    end = progress.ended_at or progress.updated_at
    return round(max(0.0, (end - progress.requested_at).total_seconds()), 3)


def document(progress: Progress, rejects_file: Path | None) -> dict[str, Any]:
    """What `--json` prints; `total` is null where the operation ended before it was planned."""
    return {
        "operation": str(progress.operation),
        "kind": progress.kind,
        "status": str(progress.status),
        "items": {
            "total": progress.total,
            "succeeded": progress.succeeded,
            "skipped": progress.skipped,
            "rejected": progress.rejected,
        },
        "rejects_file": str(rejects_file) if rejects_file else None,
        "seconds": seconds(progress),
    }


def headline(progress: Progress) -> str:
    """`completed with rejects: 100,000 items in 1.9 s (52,345/s)`."""
    text = wording.status(progress.status)
    if progress.total is None:
        return text
    text += f": {wording.items(progress.total)} in {wording.duration(took := seconds(progress))}"
    worked = progress.status in (Status.COMPLETED, Status.COMPLETED_WITH_REJECTS)
    return f"{text} ({wording.rate(progress.total / took)})" if took and worked and progress.total else text


def facts(progress: Progress, rejects_file: Path | None) -> dict[str, str]:
    """What is listed below the headline; what is empty is not."""
    found = {
        "operation": str(progress.operation),
        "succeeded": f"{progress.succeeded:,}",
        "skipped": f"{progress.skipped:,}" if progress.skipped else "",
        "rejected": f"{progress.rejected:,}" if progress.rejected else "",
        "rejects": wording.shown(rejects_file) if rejects_file else "",
    }
    if progress.compensated:
        found["compensated"] = f"{progress.compensated:,}"
    if progress.conflicting:
        found["left as they were"] = f"{progress.conflicting:,}"
    if progress.error:
        found["why"] = progress.error
    return found
