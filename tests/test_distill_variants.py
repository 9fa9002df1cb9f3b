import subprocess
import sys
from typing import get_args

import pytest

from kpod.config import Method, Pipeline
from kpod.distill.variants import VARIANTS, apply
from kpod.errors import ConfigError


def test_every_method_has_a_variant() -> None:
    assert set(VARIANTS) == set(get_args(Method))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("scotd", (False, False, "softmax", 12.0)),
        ("kpod", (True, True, "softmax", 12.0)),
        ("kpod-wo-sig", (False, True, "softmax", 12.0)),
        ("kpod-wo-sig-dif", (True, True, "uniform", 12.0)),
        ("kpod-wo-prog", (True, False, "softmax", 12.0)),
        ("kpod-wo-div", (True, True, "softmax", 0.0)),
    ],
)
def test_a_method_changes_its_own_settings_only(method: str, expected: tuple[object, ...]) -> None:
    config = Pipeline.model_validate({"name": "x", "distill": {"lr": 0.5, "adapter": {"kind": "lora", "rank": 3}}})
    made = apply(config, method)
    assert (
        made.distill.token_weights,
        made.distill.progressive,
        made.difficulty.weighting,
        made.curriculum.beta,
    ) == expected
    put_back = {
        "distill": made.distill.model_copy(update={"token_weights": True, "progressive": True}),
        "difficulty": made.difficulty.model_copy(update={"weighting": "softmax"}),
        "curriculum": made.curriculum.model_copy(update={"beta": 12.0}),
    }
    assert made.model_copy(update=put_back) == config


def test_base_changes_nothing_and_an_unknown_method_is_named() -> None:
    assert apply(Pipeline(), "base") == Pipeline()
    with pytest.raises(ConfigError, match="'sctod' is unknown"):
        apply(Pipeline(), "sctod")


def test_the_command_line_does_not_wait_for_torch() -> None:
    code = "import sys, kpod.distill.variants; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
