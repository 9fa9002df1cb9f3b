"""The split of rationales into training and validation, a function of seed and keys."""

import numpy as np

from kpod.weighting.examples import Examples

_MOST_QUESTIONS = 128


def held_out(examples: Examples, share: float, limit: int | None, seed: int) -> tuple[Examples, Examples]:
    """(training, validation) examples: a `share` of the questions is held out, and at most `limit` train (a sample).

    At most _MOST_QUESTIONS are held out, which suffice for the loss.
    """
    keys = examples.tokens.keys
    code = keys.code[examples.rows]
    names = keys.alphabetical[np.isin(keys.alphabetical, code)]
    np.random.default_rng([seed, 1]).shuffle(names)
    watched = np.isin(code, names[: min(int(len(names) * share), _MOST_QUESTIONS)])
    training = np.flatnonzero(~watched)
    if limit is not None and len(training) > limit:
        training = np.sort(np.random.default_rng([seed, 2]).choice(training, limit, replace=False))
    return examples.take(training), examples.take(watched)
