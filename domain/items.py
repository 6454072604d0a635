"""Items and what became of them.

Ordinals are 1-based. What became of a chunk's items is told compactly: `succeeded` is the rule and is only counted;
skipped and rejected items are spelled out as runs of ordinals that share a code (and the field it is about).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

MAX_CHUNK_ITEMS = 10_000
"""Keeps even a chunk of alternating outcomes, spelled out item by item, below 256 KB of event."""

Run = tuple[int, int]
"""First and last ordinal, both included."""


class OutcomeKind(StrEnum):
    """What became of one item."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    REJECTED = "rejected"


class Outcome(NamedTuple):
    """The outcome of one item; `code` and `field` say why where it did not succeed."""

    ordinal: int
    kind: OutcomeKind
    code: str = ""
    field: str | None = None


class OutcomeRuns(BaseModel):
    """Ordinals that ended alike: skipped or rejected, with the same code about the same field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: OutcomeKind
    code: str
    field: str | None = None
    runs: tuple[Run, ...]

    @property
    def count(self) -> int:
        """How many items these are."""
        return sum(last - first + 1 for first, last in self.runs)


class Counts(BaseModel):
    """How many items ended how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    succeeded: int = 0
    skipped: int = 0
    rejected: int = 0

    @property
    def done(self) -> int:
        """Items that have an outcome."""
        return self.succeeded + self.skipped + self.rejected

    def plus(self, other: Self) -> Self:
        """The sum, field by field."""
        return type(self)(
            succeeded=self.succeeded + other.succeeded,
            skipped=self.skipped + other.skipped,
            rejected=self.rejected + other.rejected,
        )


def runs(ordinals: Iterable[int]) -> tuple[Run, ...]:
    """Ordinals in any order, without repeats, as the fewest runs in ascending order."""
    found: list[Run] = []
    for ordinal in sorted(ordinals):
        if found and found[-1][1] == ordinal - 1:
            found[-1] = (found[-1][0], ordinal)
        else:
            found.append((ordinal, ordinal))
    return tuple(found)


def compact(outcomes: Iterable[Outcome]) -> tuple[OutcomeRuns, ...]:
    """Outcomes that are not `succeeded`, grouped and in a fixed order, so that equal outcomes give equal events."""
    groups: dict[tuple[OutcomeKind, str, str], list[int]] = defaultdict(list)
    for ordinal, kind, code, field in outcomes:
        if kind is not OutcomeKind.SUCCEEDED:
            groups[kind, code, field or ""].append(ordinal)
    return tuple(
        OutcomeRuns(kind=kind, code=code, field=field or None, runs=runs(ordinals))
        for (kind, code, field), ordinals in sorted(groups.items())
    )


def count(first: int, last: int, exceptions: Iterable[OutcomeRuns]) -> Counts:
    """The counts of a chunk from its range and its exceptions."""
    of = dict.fromkeys(OutcomeKind, 0)
    for group in exceptions:
        of[group.kind] += group.count
    skipped, rejected = of[OutcomeKind.SKIPPED], of[OutcomeKind.REJECTED]
    return Counts(succeeded=last - first + 1 - skipped - rejected, skipped=skipped, rejected=rejected)


def outcome_of(ordinal: int, exceptions: Iterable[OutcomeRuns]) -> Outcome:
    """What became of one item of an applied chunk."""
    for group in exceptions:
        if any(first <= ordinal <= last for first, last in group.runs):
            return Outcome(ordinal, group.kind, group.code, group.field)
    return Outcome(ordinal, OutcomeKind.SUCCEEDED)


def each(exceptions: Iterable[OutcomeRuns]) -> Iterator[Outcome]:
    """Every exception item by item, in ascending ordinals."""
    found = [
        Outcome(ordinal, group.kind, group.code, group.field)
        for group in exceptions
        for first, last in group.runs
        for ordinal in range(first, last + 1)
    ]
    yield from sorted(found)
