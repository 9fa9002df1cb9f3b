"""Keys as columns: the same rows as a dict finds."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kpod.text.groups import Key, Keys, numbered, places_within

key = st.tuples(st.sampled_from(["a", "b", "ä", ""]), st.integers(-3, 4))


def columns(found: list[Key]) -> tuple[pa.Array, np.ndarray]:
    return pa.array([name for name, _ in found], pa.string()), np.array([sample for _, sample in found], np.int32)


@given(st.lists(key, max_size=40), st.lists(st.tuples(st.sampled_from(["a", "x", "ä"]), st.integers(-9, 9))))
def test_a_key_is_found_where_it_first_stands(own: list[Key], wanted: list[Key]) -> None:
    keys = Keys(*columns(own))
    assert list(keys) == keys[:] == own
    expected = [own.index(one) if one in own else -1 for one in wanted]
    assert keys.find(*columns(wanted)).tolist() == expected
    assert [own[row] for row in np.argsort(keys.rank, kind="stable")] == sorted(own)
    assert keys[np.arange(len(own))[::-1]] == own[::-1]
    assert numbered(keys.rank).tolist() == [list(dict.fromkeys(own)).index(one) for one in own]


@given(st.lists(st.integers(0, 3), max_size=30))
def test_places_are_counted_within_each_group(groups: list[int]) -> None:
    groups = sorted(groups)
    expected = [place - groups.index(group) for place, group in enumerate(groups)]
    assert places_within(np.array(groups, dtype=np.int32)).tolist() == expected
