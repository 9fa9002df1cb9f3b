"""Rows of a table by their key, as columns: a million rows are a few arrays."""

import numpy as np
import pyarrow as pa

Key = tuple[str, int]  # question_id, sample


def keys_of(table: pa.Table) -> list[Key]:
    """The key of each row. Rows of one question share its string."""
    names = table["question_id"].combine_chunks().dictionary_encode()
    words = names.dictionary.to_pylist()
    return [(words[name], sample) for name, sample in zip(_codes(names), table["sample"].to_pylist(), strict=True)]


class Groups:
    """The distinct keys of a table and the rows of each.

    `keys[g]` is the key of group g, `first[g]` the row in which it comes first, and of the rows in the order of
    `sorted_by` those from `begin[g]` to `begin[g + 1]` are its own.
    """

    def __init__(self, table: pa.Table) -> None:
        names = table["question_id"].combine_chunks().dictionary_encode()
        words, name, sample = names.dictionary.to_pylist(), np.array(_codes(names)), table["sample"].to_numpy()
        low = int(sample.min(initial=0))
        width = int(sample.max(initial=0)) - low + 1
        code = name.astype(np.int64) * width + (sample - low)
        distinct, self.first, self._group, counts = np.unique(
            code, return_index=True, return_inverse=True, return_counts=True
        )
        self.begin = np.concatenate([[0], np.cumsum(counts)])
        self.keys: list[Key] = [(words[one // width], one % width + low) for one in distinct.tolist()]

    def sorted_by(self, column: np.ndarray) -> np.ndarray:
        """Row numbers, int64 [rows], ordered by group and within a group by `column`."""
        return np.lexsort((column, self._group))


def _codes(names: pa.DictionaryArray) -> list[int]:
    codes: list[int] = names.indices.to_pylist()
    return codes
