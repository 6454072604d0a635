"""What became of a chunk's items, told compactly and read back item by item."""

from haulage.domain.items import (
    MAX_CHUNK_ITEMS,
    Counts,
    Outcome,
    OutcomeKind,
    OutcomeRuns,
    compact,
    count,
    each,
    outcome_of,
    runs,
)

SUCCEEDED, SKIPPED, REJECTED = OutcomeKind.SUCCEEDED, OutcomeKind.SKIPPED, OutcomeKind.REJECTED

OUTCOMES = [
    Outcome(9, REJECTED, "email_taken", "email"),
    Outcome(3, REJECTED, "email_taken", "email"),
    Outcome(4, REJECTED, "email_taken", "email"),
    Outcome(5, SKIPPED, "exists"),
    Outcome(6, SUCCEEDED),
    Outcome(7, REJECTED, "ragged_row"),
]
COMPACT = (
    OutcomeRuns(kind=REJECTED, code="email_taken", field="email", runs=((3, 4), (9, 9))),
    OutcomeRuns(kind=REJECTED, code="ragged_row", runs=((7, 7),)),
    OutcomeRuns(kind=SKIPPED, code="exists", runs=((5, 5),)),
)


def test_ordinals_become_the_fewest_runs() -> None:
    assert runs([7, 1, 3, 2, 9, 8]) == ((1, 3), (7, 9))
    assert runs([]) == ()


def test_items_that_ended_alike_are_told_together() -> None:
    assert compact(OUTCOMES) == COMPACT


def test_equal_outcomes_give_equal_events_whatever_their_order() -> None:
    assert compact(reversed(OUTCOMES)) == compact(OUTCOMES)


def test_items_that_succeeded_are_only_counted() -> None:
    assert compact([Outcome(1, SUCCEEDED), Outcome(2, SUCCEEDED)]) == ()
    assert count(1, 10, ()) == Counts(succeeded=10)


def test_counts_are_the_range_and_its_exceptions() -> None:
    counts = count(1, 10, COMPACT)

    assert counts == Counts(succeeded=5, skipped=1, rejected=4)
    assert counts.done == 10


def test_counts_add_up_field_by_field() -> None:
    total = Counts(succeeded=1, skipped=2, rejected=3).plus(Counts(succeeded=10, skipped=20, rejected=30))

    assert total == Counts(succeeded=11, skipped=22, rejected=33)


def test_the_outcome_of_each_item_is_found_again() -> None:
    assert outcome_of(4, COMPACT) == Outcome(4, REJECTED, "email_taken", "email")
    assert outcome_of(5, COMPACT) == Outcome(5, SKIPPED, "exists")
    assert outcome_of(6, COMPACT) == Outcome(6, SUCCEEDED)


def test_exceptions_come_item_by_item_in_ascending_ordinals() -> None:
    assert list(each(COMPACT)) == sorted(outcome for outcome in OUTCOMES if outcome.kind is not SUCCEEDED)


def test_the_largest_chunk_of_alternating_outcomes_stays_below_256_kb_of_event() -> None:
    alternating = [
        Outcome(10**8 + n, REJECTED if n % 2 else SKIPPED, f"a_rather_long_code_{n % 3}", "a_rather_long_field")
        for n in range(MAX_CHUNK_ITEMS)
    ]

    stored = sum(len(group.model_dump_json()) for group in compact(alternating))

    assert stored < 256 * 1024
