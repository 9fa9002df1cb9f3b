"""Duplicates of questions: exact (equal normalised words) and near (common word trigrams).

Texts are normalised: NFKC, case folded, words and numbers only; options are part of the text. Two texts are near
duplicates if the Jaccard similarity of their sets of word trigrams is at least a threshold.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Shingle = tuple[str, ...]


def words(question: str, choices: Sequence[str] | None = None) -> tuple[str, ...]:
    """The normalised words of a question and its options."""
    text = " ".join([question, *(choices or ())])
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def shingles(normal: tuple[str, ...]) -> frozenset[Shingle]:
    """The word trigrams of a normalised text; a text of fewer than three words is one shingle."""
    return frozenset(normal[i : i + 3] for i in range(max(1, len(normal) - 2)))


def jaccard(a: frozenset[Shingle], b: frozenset[Shingle]) -> float:
    """Jaccard similarity, in [0, 1]: size of the intersection over size of the union."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)


class Index:
    """Exact search for the most similar of named texts, at or above a threshold.

    Two sets with Jaccard similarity t share an element among the first |A| - ceil(t |A|) + 1 of either in any common
    order, so only those are looked up; the rarest trigrams come first, which keeps the candidates few.
    """

    def __init__(self, texts: Iterable[tuple[str, tuple[str, ...]]], threshold: float) -> None:
        self._threshold = threshold
        self._sets: list[frozenset[Shingle]] = []
        self._names: list[str] = []
        self._exact: dict[tuple[str, ...], str] = {}
        self._by_shingle: dict[Shingle, list[int]] = defaultdict(list)
        known = list(texts)
        self._frequency: Counter[Shingle] = Counter(s for _, normal in known for s in shingles(normal))
        for name, normal in known:
            self.add(name, normal)

    def add(self, name: str, normal: tuple[str, ...]) -> None:
        """Add a normalised text under a name."""
        grams = shingles(normal)
        self._exact.setdefault(normal, name)
        for shingle in self._prefix(grams):
            self._by_shingle[shingle].append(len(self._sets))
        self._sets.append(grams)
        self._names.append(name)

    def exact(self, normal: tuple[str, ...]) -> str | None:
        """The name of an equal text, or None."""
        return self._exact.get(normal)

    def near(self, normal: tuple[str, ...]) -> tuple[str, float] | None:
        """Name and similarity of the most similar text at or above the threshold, or None."""
        grams = shingles(normal)
        places = sorted({place for shingle in self._prefix(grams) for place in self._by_shingle.get(shingle, ())})
        scored = [(jaccard(grams, self._sets[place]), place) for place in places]
        best = max(scored, key=lambda pair: (pair[0], -pair[1]), default=(0.0, -1))
        return (self._names[best[1]], best[0]) if best[0] >= self._threshold else None

    def _prefix(self, grams: frozenset[Shingle]) -> list[Shingle]:
        length = len(grams) - math.ceil(self._threshold * len(grams) - 1e-9) + 1
        return sorted(grams, key=lambda shingle: (self._frequency[shingle], shingle))[:length]
