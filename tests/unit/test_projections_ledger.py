"""The ledger: what happened to item 4,711."""

import pytest
from histories import STARTED, Told, applied, compensated, rejected, skipped

from haulage.domain.event import Event
from haulage.domain.items import OutcomeKind
from haulage.projections.faults import FoldError
from haulage.projections.ledger import ItemOutcome, Views, fold, item_outcome


def entries_after(*events: Event) -> Views:
    told = Told()
    told.operation(*STARTED, *events)
    views: Views = {}
    for recorded in told.recorded:
        views = fold(views, recorded)
    return views


def item(ordinal: int, *events: Event) -> ItemOutcome:
    (entry,) = entries_after(*events).values()
    return item_outcome(entry, ordinal)


def test_a_chunk_is_one_entry_with_its_numbers() -> None:
    (entry,) = entries_after(applied(11, 20, rejected(12), skipped(13))).values()

    assert (entry.step, entry.first, entry.last) == ("import", 11, 20)
    assert (entry.succeeded, entry.skipped, entry.rejected) == (8, 1, 1)
    assert (entry.compensated_position, entry.compensated_at) == (None, None)


def test_an_item_that_is_no_exception_succeeded() -> None:
    found = item(11, applied(11, 20, rejected(12)))

    assert (found.outcome.ordinal, found.outcome.kind) == (11, OutcomeKind.SUCCEEDED)
    assert found.undone is None


def test_a_rejected_item_has_its_code_and_field() -> None:
    outcome = item(12, applied(11, 20, rejected(12))).outcome

    assert (outcome.kind, outcome.code, outcome.field) == (OutcomeKind.REJECTED, "email_taken", "email")


def test_a_compensated_item_is_undone() -> None:
    assert item(11, applied(11, 20), compensated(11, 20)).undone is True


def test_an_item_that_had_changed_since_was_left_and_it_says_why() -> None:
    found = item(14, applied(11, 20), compensated(11, 20, skipped(14)))

    assert (found.undone, found.left) == (False, "exists")


def test_there_is_nothing_to_undo_about_a_rejected_item() -> None:
    assert item(12, applied(11, 20, rejected(12)), compensated(11, 20)).undone is None


def test_the_compensation_of_a_chunk_that_was_not_applied_is_an_error() -> None:
    with pytest.raises(FoldError, match="has not seen applied"):
        entries_after(compensated(1, 10))
