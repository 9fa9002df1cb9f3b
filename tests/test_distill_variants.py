import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from configs import pipeline

from kpod.config import VARIANTS, Method
from kpod.config.methods import Eq15, Icl, Objective
from kpod.config.variants import apply
from kpod.errors import ConfigError
from kpod.methods import OBJECTIVES

PLAIN = {"token_weights": False, "progressive": False}


def test_every_method_is_one_that_the_configuration_knows() -> None:
    assert get_args(Method) == tuple(VARIANTS)
    with pytest.raises(ConfigError, match=r"methods\.0: Input should be 'base', 'scotd'"):
        pipeline({"methods": ["sctod"]})


@pytest.mark.parametrize("method", ["icl", "acl", "spl", "mcc-kd", "scott", "specialized"])
def test_a_method_with_an_objective_takes_its_settings_from_variants(method: str) -> None:
    field = method.replace("-", "_")
    config = pipeline({"methods": ["scotd"], "distill": {"objective": {"kind": "icl"}, **PLAIN}})
    made = apply(config, method)
    assert made.distill.objective == getattr(config.variants, field)
    assert made.distill.objective.kind == method
    assert not made.distill.token_weights
    assert not made.distill.progressive
    assert apply(config, "kpod").distill.objective == Eq15()


def test_settings_of_one_method_do_not_touch_another() -> None:
    changed = pipeline({"variants": {"icl": {"rho": 0.9}}})
    assert apply(changed, "icl").distill.objective == Icl(rho=0.9)
    assert apply(changed, "kpod").distill == apply(pipeline(), "kpod").distill


def test_methods_without_their_data_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"mcc-kd needs two rationales .* teacher\.samples"):
        pipeline({"methods": ["mcc-kd"]})
    pipeline({"methods": ["mcc-kd"], "teacher": {"samples": 2}})
    with pytest.raises(ConfigError, match=r"scott trains on wrong rationales .* teacher\.endpoint\.wrong"):
        pipeline({"methods": ["scott"], "teacher": {"endpoint": {"kind": "scripted", "wrong": 0}}})
    with pytest.raises(ConfigError, match=r"specialized has prompts of its own: set prompt\.kind to chat or cot"):
        pipeline({"methods": ["specialized"], "prompt": {"kind": "custom", "template": "{{ question }}"}})
    pipeline({"methods": ["specialized"], "prompt": {"kind": "chat"}})
    with pytest.raises(ConfigError, match="objective icl needs token_weights and progressive to be false"):
        pipeline({"distill": {"objective": {"kind": "icl"}}})


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
    config = pipeline({"name": "x", "distill": {"lr": 0.5, "adapter": {"kind": "lora", "rank": 3}}})
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
    assert apply(pipeline(), "base") == pipeline()
    with pytest.raises(ConfigError, match="'sctod' is unknown"):
        apply(pipeline(), "sctod")


def test_settings_do_not_wait_for_what_training_needs() -> None:
    code = "import sys, kpod.config.settings; print({'torch', 'transformers', 'pyarrow'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_every_method_with_settings_has_an_objective() -> None:
    settings, _ = get_args(Objective)
    kinds = [one.model_fields["kind"].default for one in get_args(settings)]
    assert kinds == list(OBJECTIVES)
    assert set(kinds) - {"eq15"} < VARIANTS.keys()


USE = """
from kpod.run.stages import STAGES
from kpod.store.code_version import code_version
for stage in STAGES.values():
    print(stage.name, code_version(stage.module))
"""


def test_the_objective_of_a_method_makes_only_stages_that_train_stale(tmp_path: Path) -> None:
    package = Path(__file__).parent.parent / "kpod"
    shutil.copytree(package, tmp_path / "kpod", ignore=shutil.ignore_patterns("__pycache__"))

    def versions() -> dict[str, str]:
        command = [sys.executable, "-P", "-c", USE]
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    before = versions()
    with (tmp_path / "kpod" / "methods" / "acl.py").open("a") as file:
        file.write("# changed\n")
    after = versions()
    # The student of the demo is pretrained by the same trainer.
    assert {name for name in before if before[name] != after[name]} == {"base", "distill"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"variants": {"icl": {"roh": 0.5}}}, "did you mean rho"), ({"variants": {"icl": {"rho": 2}}}, "icl.rho")],
)
def test_settings_of_a_method_are_checked(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline(changed)
