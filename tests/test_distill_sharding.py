"""FSDP2 on two and three real processes, of gloo or (marked gpu) nccl: the same students, checkpoints for any number of
them, validation."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sharded_run
import torch
from distill_tiny import STUDENTS, tokenizer
from safetensors.torch import load_file
from torch.testing import assert_close

LORA = {"adapter": {"kind": "lora", "rank": 4}}
JOBS: dict[str, dict[str, Any]] = {
    "llama": {"student": "llama"},
    "t5": {"student": "t5"},  # tied embeddings
    "lora": {"student": "llama", **LORA},
    "bf16": {"student": "llama", "precision": "bf16"},
    "validation": {"student": "llama", "validate": True, "lr": 1e-4},  # so small that it goes on to write something
}
STEPS, STOP = 9, 4


def start(jobs: list[dict[str, Any]], file: Path, processes: int = 2, gpus: bool = False) -> None:
    """Run the jobs on so many ranks: of nccl with `gpus`, else of gloo. Fails with the end of what they wrote."""
    file.write_text(json.dumps(jobs))
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here.parent}:{here}"}
    environment |= {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    command += [str(here / "sharded_run.py"), str(file)]
    ended = subprocess.run(command, check=False, env=environment, timeout=400, capture_output=True, text=True)
    # Half of it is torchrun's own account, behind those of the ranks.
    assert not ended.returncode, f"{file.name} ended with {ended.returncode}:\n{ended.stderr[-6000:]}"


def prepared(root: Path) -> Callable[..., dict[str, Any]]:
    """Save the students in `root`; returns what makes the arguments of a job."""
    for name, make in STUDENTS.items():
        make().save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)

    def given(name: str, of: str, work: str, **more: Any) -> dict[str, Any]:
        found = {**JOBS[name], **more}
        places = {"student": root / found["student"], "work": root / work, "out": root / of / name}
        return found | {what: str(path) for what, path in places.items()}

    return given


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one/` and `two/`: every job on one process, and sharded on two.

    `shards/` and `whole/`: work that was broken off, by two ranks and by one; `...-on-N/`: continued by N.
    """
    root = tmp_path_factory.mktemp("sharding")
    given = prepared(root)
    for name in JOBS:
        sharded_run.job(**given(name, "one", f"one/{name}/work"))
    sharded_run.job(**given("llama", "whole-stopped", "whole", stop=STOP))
    two = [given(name, "two", f"two/{name}/work", sharding=True) for name in JOBS]
    two += [given("llama", "shards-stopped", "shards", stop=STOP, sharding=True)]
    two += [given("llama", "whole-on-2", "whole", sharding=True)]
    start(two, root / "two.json", 2)
    for copy in ("copy-1", "copy-3"):
        shutil.copytree(root / "shards", root / copy)
    sharded_run.job(**given("llama", "shards-on-1", "copy-1"))
    start([given("llama", "shards-on-3", "copy-3", sharding=True)], root / "three.json", 3)
    return root


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "told.json").read_text())


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in told(folder)["history"]]


def same(folder: Path, other: Path, atol: float = 1e-5) -> None:
    ours, theirs = (load_file(one / "model.safetensors") for one in (folder, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert_close(theirs[name], value, rtol=1e-3, atol=atol, msg=name)


@pytest.mark.parametrize("name", ["llama", "t5", "lora"])
def test_two_shards_train_what_one_process_trains(runs: Path, name: str) -> None:
    assert losses(runs / "two" / name) == pytest.approx(losses(runs / "one" / name), rel=1e-4)
    # Adam turns rounding into steps where a gradient is next to nothing, as those of adapters are at first.
    same(runs / "one" / name, runs / "two" / name, atol=5e-3 if name == "lora" else 1e-5)


def test_no_device_holds_the_whole_student(runs: Path) -> None:
    model = STUDENTS["llama"]()
    blocks = [sum(p.numel() for p in layer.parameters()) for layer in model.model.layers]
    rest = model.num_parameters() - sum(blocks)
    assert told(runs / "two" / "llama")["largest"] == max(*blocks, rest) < model.num_parameters()


def test_shards_compute_in_bf16(runs: Path) -> None:
    """FSDP's mixed precision beside autocast's on one process."""
    assert losses(runs / "two" / "bf16") == pytest.approx(losses(runs / "one" / "bf16"), rel=0.03)
    assert losses(runs / "two" / "bf16") != losses(runs / "two" / "llama")


def test_a_sharded_student_answers_validation_questions_as_a_whole_one(runs: Path) -> None:
    one, two = (told(runs / name / "validation") for name in ("one", "two"))
    assert two["answers"] == one["answers"]
    assert len(one["answers"]) == 3 * len(sharded_run.ASKED)  # after each epoch
    assert all(text for _, text in one["answers"])
    assert losses(runs / "two" / "validation") == pytest.approx(losses(runs / "one" / "validation"), rel=1e-4)
    same(runs / "one" / "validation", runs / "two" / "validation")


@pytest.mark.parametrize(("left", "processes"), [("shards", 1), ("shards", 3), ("whole", 2)])
def test_any_number_of_processes_goes_on(runs: Path, left: str, processes: int) -> None:
    """Shards of two ranks by one process and by three ranks, and the file of one process by two ranks."""
    resumed = runs / f"{left}-on-{processes}" / "llama"
    before = load_file(runs / f"{left}-stopped" / "llama" / "stopped.safetensors")
    restored = load_file(resumed / "restored.safetensors")
    assert {name.split(".")[0] for name in before} == {"parameter", "exp_avg", "exp_avg_sq", "step"}
    assert restored.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(restored[name], value), name
    assert told(resumed)["steps"] == STEPS - STOP
    assert losses(resumed) == pytest.approx(losses(runs / "one" / "llama"), rel=1e-4)
    same(runs / "one" / "llama", resumed)


def test_shards_are_checkpoints_of_their_own(runs: Path) -> None:
    (left,) = (runs / "shards").glob("checkpoint-*")
    assert left.name == f"checkpoint-{STOP}"
    assert {path.name for path in (left / "shards").glob("*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}
    assert not (left / "state.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_on_two_gpus_shards_of_nccl_train_what_one_gpu_trains(tmp_path: Path) -> None:
    given = prepared(tmp_path)
    names = ("llama", "lora", "bf16", "validation")
    for name in names:
        sharded_run.job(**given(name, "one", f"one/{name}/work"))
    start([given(n, "two", f"two/{n}/work", sharding=True) for n in names], tmp_path / "two.json", gpus=True)
    for name in names:
        rel = 0.03 if name == "bf16" else 1e-3
        assert losses(tmp_path / "two" / name) == pytest.approx(losses(tmp_path / "one" / name), rel=rel)
