"""Digests verify whatever has been erased, in any order, and after any number of times in the database's form."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from haulage.domain.manifest import SALT_BYTES, Leaves
from haulage.infra.postgres.leaves import pack, salted

json = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
contents = st.lists(json.map(orjson.dumps), min_size=1, max_size=8)


@given(contents=contents, data=st.data())
def test_any_erasures_leave_the_digest_and_the_other_contents_as_they_were(
    contents: list[bytes], data: st.DataObject
) -> None:
    leaves = salted(contents)
    digest = leaves.digest
    gone: set[int] = set()
    for _ in range(data.draw(st.integers(1, 4))):
        erased = data.draw(st.sets(st.integers(0, len(contents) - 1)))
        gone |= erased
        leaves = pack(leaves.erase(erased)).unpack()
    assert leaves.verify(digest)
    assert [i for i, content in enumerate(leaves.contents) if content is None] == sorted(gone)
    assert all(content in (None, contents[i]) for i, content in enumerate(leaves.contents))
    assert all(leaves.salts[i * SALT_BYTES : (i + 1) * SALT_BYTES] == bytes(SALT_BYTES) for i in gone)


@given(contents=contents)
def test_what_is_stored_is_what_was_given(contents: list[bytes]) -> None:
    leaves = salted(contents)
    packed = pack(leaves)
    assert packed.unpack() == leaves
    assert packed.values() == list(map(orjson.loads, contents))


@given(contents=contents, index=st.integers(0, 7), other=json.map(orjson.dumps))
def test_no_other_content_verifies(contents: list[bytes], index: int, other: bytes) -> None:
    leaves = salted(contents)
    index %= len(contents)
    changed = [*contents]
    changed[index] = other
    assert Leaves(changed, leaves.salts).verify(leaves.digest) == (other == contents[index])
