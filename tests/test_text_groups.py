"""Rows by key as columns: the same groups as a dict of lists."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kpod.text.groups import Groups, keys_of

rows = st.lists(st.tuples(st.sampled_from(["a", "b", "ä", ""]), st.integers(-3, 4), st.integers(0, 9)), max_size=40)


@given(rows)
def test_groups_are_those_of_a_dict(found: list[tuple[str, int, int]]) -> None:
    table = pa.table(
        {
            "question_id": pa.array([name for name, _, _ in found], pa.string()),
            "sample": pa.array([sample for _, sample, _ in found], pa.int32()),
        }
    )
    steps = np.array([step for _, _, step in found], dtype=np.int64)
    expected: dict[tuple[str, int], list[int]] = {}
    for row, (name, sample, _) in enumerate(found):
        expected.setdefault((name, sample), []).append(row)
    groups = Groups(table)
    order = groups.sorted_by(steps)
    assert keys_of(table) == [(name, sample) for name, sample, _ in found]
    assert set(groups.keys) == set(expected)
    for number, key in enumerate(groups.keys):
        own = order[groups.begin[number] : groups.begin[number + 1]].tolist()
        assert own == sorted(expected[key], key=lambda row: steps[row])
        assert groups.first[number] == expected[key][0]
