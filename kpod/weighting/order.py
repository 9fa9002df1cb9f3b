"""The split of rationales into training and validation, a function of seed and keys."""

from collections.abc import Sequence

import numpy as np

from kpod.weighting.examples import Example

_MOST_QUESTIONS = 128


def held_out(examples: Sequence[Example], share: float, limit: int | None, seed: int) -> tuple[list, list]:
    """(training, validation) examples: a `share` of the questions is held out, and at most `limit` train (a sample).

    At most _MOST_QUESTIONS are held out, which suffice for the loss.
    """
    names = sorted({example.key[0] for example in examples})
    np.random.default_rng([seed, 1]).shuffle(names)
    chosen = set(names[: min(int(len(names) * share), _MOST_QUESTIONS)])
    training = [example for example in examples if example.key[0] not in chosen]
    if limit is not None and len(training) > limit:
        sample = np.random.default_rng([seed, 2]).choice(len(training), limit, replace=False)
        training = [training[i] for i in np.sort(sample)]
    return training, [example for example in examples if example.key[0] in chosen]
