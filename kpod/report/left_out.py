"""The steps that a method leaves out of its rationales, because no token of them is a keypoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from kpod.config import Pipeline
from kpod.config.variants import apply
from kpod.text.groups import Key
from kpod.text.table import Tokens
from kpod.training.examples import Examples, usable
from kpod.training.weights import weigh


@dataclass(frozen=True)
class LeftOut:
    """The steps that are in `tokens` but not in `rest`, the same rationales as `method` is trained on them."""

    method: str
    tokens: Tokens
    rest: Examples
    why_none: str | None = None  # if the weights leave out no step

    @cached_property
    def steps(self) -> int:
        """Number of steps of all rationales of `rest`, also of those that are left out."""
        return _steps(Examples(self.tokens, self.rest.rows))

    @cached_property
    def count(self) -> int:
        """Number of steps that are left out."""
        return self.steps - _steps(self.rest)

    def of(self, keys: Sequence[Key]) -> list[set[int]]:
        """The numbers of the steps that are left out of these rationales; none of one that is not in `rest`."""
        names, samples = pa.array([key[0] for key in keys], pa.string()), np.array([key[1] for key in keys])
        rows = self.tokens.keys.find(names, samples)
        used = np.isin(rows, self.rest.rows)
        return [
            set(np.setdiff1d(self.tokens.step[row], self.rest.tokens.step[row]).tolist()) if there else set()
            for row, there in zip(rows.tolist(), used.tolist(), strict=True)
        ]


def left_out(inputs: Mapping[str, Path], config: Pipeline) -> LeftOut | None:
    """The steps that the first method with token weights and keypoints leaves out; None if there is no such method.

    `inputs` maps `<method>.<stage>` to the folder of a result.
    """
    for method in config.methods:
        settings = apply(config, method).distill
        stages = {f"{method}.tokens", f"{method}.weights"}
        if settings.token_weights and settings.keypoints and stages <= inputs.keys():
            examples, _ = usable(Tokens.read(inputs[f"{method}.tokens"]), settings.max_tokens)
            if settings.samples:
                examples = examples.first(settings.samples)
            weighed = weigh(examples, settings, inputs[f"{method}.weights"])
            return LeftOut(method, examples.tokens, weighed.examples, weighed.why_none)
    return None


def _steps(examples: Examples) -> int:
    """Number of steps of all rows."""
    count = 0
    for part in examples.parts():
        step = part.tokens.step.flat(part.rows)
        row = np.repeat(part.rows, part.tokens.step.size[part.rows])
        starts = (step[1:] != step[:-1]) | (row[1:] != row[:-1])
        count += min(1, len(step)) + int(np.count_nonzero(starts))
    return count
