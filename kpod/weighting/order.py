"""Which rationales train, which are watched, and in what batches; everything derives from seed and key."""

from collections.abc import Sequence

import numpy as np

from kpod.weighting.examples import Example

_MOST_WATCHED = 128
_WINDOW = 16  # batches that are sorted by length among themselves: little padding, still a random order


def held_out(examples: Sequence[Example], share: float, limit: int | None, seed: int) -> tuple[list, list]:
    """(training, validation) examples: whole questions are held out; training is cut to a sample of `limit`.

    More than _MOST_WATCHED questions are never held out: they would cost time and tell the loss no better.
    """
    names = sorted({example.key[0] for example in examples})
    np.random.default_rng([seed, 1]).shuffle(names)
    watched = set(names[: min(int(len(names) * share), _MOST_WATCHED)])
    training = [example for example in examples if example.key[0] not in watched]
    if limit is not None and len(training) > limit:
        chosen = np.random.default_rng([seed, 2]).choice(len(training), limit, replace=False)
        training = [training[i] for i in np.sort(chosen)]
    return training, [example for example in examples if example.key[0] in watched]


def batches(examples: Sequence[Example], size: int, seed: int, epoch: int) -> list[list[Example]]:
    """The epoch's batches: shuffled, with rows of similar length together."""
    rng = np.random.default_rng([seed, 3, epoch])
    order = rng.permutation(len(examples))
    result: list[list[Example]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = sorted(order[start : start + size * _WINDOW], key=lambda i: (examples[i].tokens, examples[i].key))
        result += [[examples[i] for i in window[at : at + size]] for at in range(0, len(window), size)]
    return [result[i] for i in rng.permutation(len(result))]
