"""Compact outcomes lose nothing, whatever the outcomes."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from haulage.domain.identity import as_token, is_token
from haulage.domain.items import Counts, Outcome, OutcomeKind, compact, count, each, outcome_of, runs

FIRST, LAST = 5, 60

codes = st.sampled_from(["taken", "exists", "ragged_row"])
fields = st.sampled_from([None, "email", "role"])


def outcome(ordinal: int) -> st.SearchStrategy[Outcome]:
    """One that succeeded has no code; the others have one, and some are about a field."""
    succeeded = st.just(Outcome(ordinal, OutcomeKind.SUCCEEDED))
    others = st.sampled_from([OutcomeKind.SKIPPED, OutcomeKind.REJECTED])
    return succeeded | st.builds(Outcome, st.just(ordinal), others, codes, fields)


def outcomes() -> st.SearchStrategy[list[Outcome]]:
    """The outcomes of some of a chunk's items, in any order."""
    some = st.lists(st.integers(FIRST, LAST), unique=True)
    return some.flatmap(lambda chosen: st.tuples(*map(outcome, chosen)).map(list))


@given(outcomes())
def test_every_item_keeps_its_outcome(told: list[Outcome]) -> None:
    exceptions = compact(told)

    assert all(outcome_of(outcome.ordinal, exceptions) == outcome for outcome in told)


@given(outcomes())
def test_items_nobody_spoke_of_have_succeeded(told: list[Outcome]) -> None:
    exceptions = compact(told)
    silent = set(range(FIRST, LAST + 1)) - {outcome.ordinal for outcome in told}

    assert all(outcome_of(ordinal, exceptions).kind is OutcomeKind.SUCCEEDED for ordinal in silent)


@given(outcomes())
def test_every_item_is_counted_once(told: list[Outcome]) -> None:
    exceptions = compact(told)
    counts = count(FIRST, LAST, exceptions)

    assert counts.done == LAST - FIRST + 1
    assert counts.skipped == sum(outcome.kind is OutcomeKind.SKIPPED for outcome in told)
    assert counts.rejected == sum(outcome.kind is OutcomeKind.REJECTED for outcome in told)


@given(outcomes(), st.randoms())
def test_the_order_of_the_outcomes_does_not_matter(told: list[Outcome], random: Random) -> None:
    shuffled = list(told)
    random.shuffle(shuffled)

    assert compact(shuffled) == compact(told)


@given(outcomes())
def test_taking_exceptions_apart_and_together_again_changes_nothing(told: list[Outcome]) -> None:
    assert compact(each(compact(told))) == compact(told)


@given(st.sets(st.integers(1, 10**12)))
def test_runs_hold_exactly_their_ordinals_and_never_touch(chosen: set[int]) -> None:
    found = runs(chosen)

    assert {ordinal for first, last in found for ordinal in range(first, last + 1)} == chosen
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


@given(*[st.builds(Counts, succeeded=st.integers(0), skipped=st.integers(0), rejected=st.integers(0))] * 3)
def test_counts_can_be_added_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    assert a.plus(b).plus(c) == c.plus(a.plus(b)) == b.plus(a).plus(c)
    assert a.plus(b).done == a.done + b.done


@given(st.text())
def test_whatever_the_name_it_can_be_made_a_token(name: str) -> None:
    assert is_token(as_token(name, default="somebody"))
