"""What an entry of the timeline says to a person. Made when it is read, so the wording is not stored anywhere."""

from collections.abc import Callable, Mapping
from typing import Any

from haulage.domain import chunk, operation
from haulage.projections.timeline import Entry


def sentence(entry: Entry) -> str:
    """One line, without its time and actor; a topic that this version does not know is given as it is."""
    say = _SENTENCES.get(entry.topic)
    return say(entry, entry.detail) if say else entry.topic


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _outcomes(counts: Mapping[str, Any]) -> str:
    named = [f"{counts[name]:,} {name}" for name in ("succeeded", "skipped", "rejected") if counts.get(name)]
    return ", ".join(named) or "no items"


def _because(detail: Mapping[str, Any]) -> str:
    return f": {detail['reason']}" if detail.get("reason") else ""


def _planned(entry: Entry, detail: Mapping[str, Any]) -> str:
    size = f"in chunks of {detail['chunk_items']:,}"
    return f"planned {_number(detail['items'], 'item')}, {size}; steps: {', '.join(detail['steps'])}"


def _failed(entry: Entry, detail: Mapping[str, Any]) -> str:
    where = f" in step {detail['step']}" if detail.get("step") else ""
    return f"failed{where}: {detail['message']}"


def _step_compensated(entry: Entry, detail: Mapping[str, Any]) -> str:
    left = f"; {_number(detail['conflicting'], 'item')} left as they were" if detail["conflicting"] else ""
    return f"step {detail['step']} is compensated{left}"


def _chunks_applied(entry: Entry, detail: Mapping[str, Any]) -> str:
    return f"applied {_number(entry.events, 'chunk')} of step {entry.step}: {_outcomes(detail)}"


def _chunks_compensated(entry: Entry, detail: Mapping[str, Any]) -> str:
    left = f", {detail['conflicting']:,} of them left as they were" if detail["conflicting"] else ""
    return (
        f"compensated {_number(entry.events, 'chunk')} of step {entry.step}: {_number(detail['items'], 'item')}{left}"
    )


def _attempts_failed(entry: Entry, detail: Mapping[str, Any]) -> str:
    first = detail["listed"][0]
    example = f"first {first['error']} at items {first['first']:,} to {first['last']:,}"
    return f"{_number(entry.events, 'attempt')} at chunks of step {entry.step} failed, {example}"


def _chunks_split(entry: Entry, detail: Mapping[str, Any]) -> str:
    first = detail["listed"][0]
    example = f"first items {first['first']:,} to {first['last']:,} after {first['error']}"
    return f"{_number(entry.events, 'chunk')} of step {entry.step} split in half, {example}"


_SENTENCES: dict[str, Callable[[Entry, Mapping[str, Any]], str]] = {
    event.topic: say
    for event, say in (
        (operation.OperationRequested, lambda entry, detail: "requested"),
        (operation.PlanningStarted, lambda entry, detail: "planning started"),
        (operation.OperationPlanned, _planned),
        (operation.StepStarted, lambda entry, detail: f"step {detail['step']} started"),
        (
            operation.StepCompleted,
            lambda entry, detail: f"step {detail['step']} complete: {_outcomes(detail['counts'])}",
        ),
        (operation.OperationCompleted, lambda entry, detail: f"completed: {_outcomes(detail['counts'])}"),
        (operation.OperationFailed, _failed),
        (operation.OperationPausing, lambda entry, detail: f"pause asked for{_because(detail)}"),
        (operation.OperationPaused, lambda entry, detail: "paused"),
        (operation.OperationResumed, lambda entry, detail: f"resumed{_because(detail)}"),
        (operation.OperationCancelling, lambda entry, detail: f"cancellation asked for{_because(detail)}"),
        (operation.OperationCancelled, lambda entry, detail: "cancelled; what was applied stays"),
        (operation.OperationRollingBack, lambda entry, detail: f"rollback asked for{_because(detail)}"),
        (operation.StepCompensated, _step_compensated),
        (operation.OperationRolledBack, lambda entry, detail: "rolled back: everything applied is compensated"),
        (
            operation.OperationNeedsAttention,
            lambda entry, detail: f"needs attention: {_number(detail['items'], 'item')} could not be compensated",
        ),
        (operation.OperationClosed, lambda entry, detail: f"closed{_because(detail)}"),
        (chunk.ChunkApplied, _chunks_applied),
        (chunk.ChunkAttemptFailed, _attempts_failed),
        (chunk.ChunkSplit, _chunks_split),
        (chunk.ChunkCompensated, _chunks_compensated),
    )
}
