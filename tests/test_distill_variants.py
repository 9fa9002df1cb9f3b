import subprocess
import sys
from typing import get_args

import pytest

from kpod.config import VARIANTS, Eq15, Icl, Method, Pipeline
from kpod.distill.variants import apply
from kpod.errors import ConfigError
from kpod.settings import validate

PLAIN = {"token_weights": False, "progressive": False}


def test_every_method_is_one_that_the_configuration_knows() -> None:
    assert get_args(Method) == tuple(VARIANTS)
    with pytest.raises(ConfigError, match=r"methods\.0: Input should be 'base', 'scotd'"):
        validate({"methods": ["sctod"]})


@pytest.mark.parametrize("method", ["icl", "acl", "spl", "mcc-kd", "scott", "specialized"])
def test_a_method_with_an_objective_takes_its_settings_from_variants(method: str) -> None:
    field = method.replace("-", "_")
    config = Pipeline.model_validate({"methods": ["scotd"], "distill": {"objective": {"kind": "icl"}, **PLAIN}})
    made = apply(config, method)
    assert made.distill.objective == getattr(config.variants, field)
    assert made.distill.objective.kind == method
    assert not made.distill.token_weights
    assert not made.distill.progressive
    assert apply(config, "kpod").distill.objective == Eq15()


def test_settings_of_one_method_do_not_touch_another() -> None:
    changed = Pipeline.model_validate({"variants": {"icl": {"rho": 0.9}}})
    assert apply(changed, "icl").distill.objective == Icl(rho=0.9)
    assert apply(changed, "kpod").distill == apply(Pipeline(), "kpod").distill


def test_methods_without_their_data_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"mcc-kd compares two rationales .* teacher\.samples"):
        validate({"methods": ["mcc-kd"]})
    validate({"methods": ["mcc-kd"], "teacher": {"samples": 2}})
    with pytest.raises(ConfigError, match=r"scott trains on wrong rationales .* teacher\.endpoint\.wrong"):
        validate({"methods": ["scott"], "teacher": {"endpoint": {"kind": "scripted", "wrong": 0}}})
    with pytest.raises(ConfigError, match="objective icl needs token_weights and progressive to be false"):
        validate({"distill": {"objective": {"kind": "icl"}}})


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
