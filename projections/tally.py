"""The outcomes of an applied chunk in numbers, for folds that meet hundreds of thousands of them."""

from haulage.domain.chunk import ChunkApplied


def tally(applied: ChunkApplied) -> tuple[int, int, int]:
    """Items succeeded, skipped and rejected; as `applied.counts`, at a fraction of its cost where all succeeded."""
    if not applied.exceptions:
        return applied.last - applied.first + 1, 0, 0
    counts = applied.counts
    return counts.succeeded, counts.skipped, counts.rejected
