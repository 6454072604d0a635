"""The manifest's digests, its erasures, and items as actions get them."""

from hashlib import sha256

import pytest

from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.manifest import MESSAGES, InputFacts, Items, Leaves, block_digest, leaf_hash, manifest_digest

SALTS = bytes(range(48))
LEAVES = Leaves([b'["a"]', b'["b"]', b'["c"]'], SALTS)


# -- digests -----------------------------------------------------------------------------------------------------------
def test_a_leaf_is_the_hash_of_its_salt_and_then_its_content() -> None:
    assert leaf_hash(b"s" * 16, b"content") == sha256(b"s" * 16 + b"content").digest()
    assert LEAVES.hashes() == [
        sha256(SALTS[0:16] + b'["a"]').digest(),
        sha256(SALTS[16:32] + b'["b"]').digest(),
        sha256(SALTS[32:48] + b'["c"]').digest(),
    ]


def test_a_digest_is_the_hash_of_the_hashes_below_it() -> None:
    assert LEAVES.digest == block_digest(LEAVES.hashes()) == sha256(b"".join(LEAVES.hashes())).digest()
    assert manifest_digest([b"1" * 32, b"2" * 32]) == sha256(b"1" * 32 + b"2" * 32).digest()


@pytest.mark.parametrize(
    "other",
    [
        Leaves([b'["a"]', b'["c"]', b'["b"]'], SALTS),
        Leaves([b'["a"]', b'["b"]', b'["x"]'], SALTS),
        Leaves([b'["a"]', b'["b"]'], SALTS[:32]),
        Leaves([b'["a"]', b'["b"]', b'["c"]'], SALTS[::-1]),
        Leaves([b'["a"]', None, b'["c"]'], SALTS),
        Leaves([b'["a"]', None, b'["c"]'], SALTS, {1: bytes(32)}),
    ],
)
def test_other_leaves_do_not_verify(other: Leaves) -> None:
    assert LEAVES.verify(LEAVES.digest)
    assert not other.verify(LEAVES.digest)


def test_each_content_needs_its_salt() -> None:
    with pytest.raises(ValueError, match="16 bytes of salt"):
        Leaves([b"1", b"2"], SALTS[:16])


# -- erasure -----------------------------------------------------------------------------------------------------------
def test_an_erased_item_is_gone_with_its_salt_and_the_digest_is_the_same() -> None:
    erased = LEAVES.erase([1])
    assert erased.contents == [b'["a"]', None, b'["c"]']
    assert erased.salts == SALTS[:16] + bytes(16) + SALTS[32:]
    assert erased.digest == LEAVES.digest
    assert erased.verify(LEAVES.digest)


def test_erasing_again_changes_nothing() -> None:
    assert LEAVES.erase([1]).erase([1]) == LEAVES.erase([1, 1]) == LEAVES.erase([1])
    assert LEAVES.erase([0, 1, 2]).verify(LEAVES.digest)


# -- items -------------------------------------------------------------------------------------------------------------
def test_rows_become_dicts_by_column() -> None:
    records = Items(5, ("a", "b"), [["1", "2"], ["3", "4"]]).records()
    assert list(records.ordinals) == [5, 6]
    assert records.values == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert list(records.refused) == []


def test_objects_are_handed_on_as_they_are() -> None:
    records = Items(1, None, [{"a": 1}, {"b": 2}]).records()
    assert (records.ordinals, records.values, records.refused) == ([1, 2], [{"a": 1}, {"b": 2}], [])


def test_what_no_action_can_look_at_has_its_outcome_and_harms_no_neighbour() -> None:
    contents = [["1", "2"], ["1"], ["1", "2", "3"], [], "nul_byte\nraw\ntext", None, ["3", "4"]]
    records = Items(10, ("a", "b"), contents).records()
    assert records.ordinals == [10, 16]
    assert records.values == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert records.refused == [
        Outcome(11, OutcomeKind.REJECTED, "ragged_row"),
        Outcome(12, OutcomeKind.REJECTED, "ragged_row"),
        Outcome(13, OutcomeKind.REJECTED, "ragged_row"),
        Outcome(14, OutcomeKind.REJECTED, "nul_byte"),
        Outcome(15, OutcomeKind.SKIPPED, "erased"),
    ]


def test_rows_all_of_the_same_wrong_width_are_ragged() -> None:
    records = Items(1, ("a", "b"), [["1"], ["2"]]).records()
    assert [outcome.code for outcome in records.refused] == ["ragged_row", "ragged_row"]


def test_no_items_make_no_records() -> None:
    assert list(Items(1, ("a",), []).records().ordinals) == []


def test_every_code_has_a_sentence() -> None:
    refused = Items(1, ("a", "b"), [["1"], 5, None, "row_too_long\n"]).records().refused
    assert {outcome.code for outcome in refused} <= MESSAGES.keys()


def test_people_count_rows_with_the_header() -> None:
    assert InputFacts("csv", ("a",), ("A",), 1, 1).row_number(1) == 2
    assert InputFacts("ndjson", None, None, 1, 1).row_number(1) == 1
