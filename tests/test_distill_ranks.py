"""Real torchrun processes over gloo; see test_distill_stage for the files they read."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from distill_tiny import llama, rows
from safetensors.torch import load_file
from server_tools import free_port, until
from test_distill_stage import CONFIG, QUESTIONS, TEXTS, inputs  # noqa: F401

from kpod import observe, schemas
from kpod.config import Budget, Distill, Lora
from kpod.config.methods import Acl
from kpod.config.settings import recipes
from kpod.distill.stage import run
from kpod.errors import ModelError
from kpod.training import models
from kpod.training.examples import Examples
from kpod.training.passes import Passes
from kpod.training.ranks import Ranks

TWO = CONFIG.model_copy(update={"processes": 2})


class TeacherReplies:
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.done = 0.0

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        self.done = done / total

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.losses.append(values["loss"])

    def warning(self, message: str) -> None: ...


def processes_with(marker: str) -> list[int]:
    """Other processes with `marker` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker in command and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def test_every_rank_gets_its_share_and_as_many_micro_batches() -> None:
    ranks = Ranks()
    assert (ranks.world, ranks.rank, ranks.writes) == (1, 0, True)
    ranks.world = 3
    model, examples = llama(), rows(8)
    found = []
    for ranks.rank in range(3):
        passes = Passes(model, model, Examples.of(examples), 0, Distill(micro_batch=2, precision="fp32"), ranks)
        found.append([(m.rows, m.active) for m in passes.micro_batches([(row,) for row in range(7)], np.zeros(8, int))])
    assert found == [[([0, 3], 1), ([6], 1)], [([1, 4], 1), ([0], 0)], [([2, 5], 1), ([0], 0)]]


@pytest.fixture
def nine_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine questions with a rationale each; before `inputs` in a test's arguments."""
    found = [(q, sample, again) for q, sample in TEXTS for again in range(3)]
    texts = {(f"{q}-{sample}-{again}", 0): TEXTS[q, sample] for q, sample, again in found}
    asked = {f"{q}-{sample}-{again}": QUESTIONS[q] for q, sample, again in found}
    monkeypatch.setattr("test_distill_stage.TEXTS", texts)
    monkeypatch.setattr("test_distill_stage.QUESTIONS", asked)


def untimed(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not name.endswith("_seconds")}


@pytest.mark.usefixtures("nine_rows")
def test_two_processes_of_four_rows_equal_one_of_eight(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    # Nine rows in batches of eight: in the second step of an epoch one of the ranks has no row.
    told = TeacherReplies()
    (tmp_path / "two").mkdir()
    with observe.observing(told):
        both = run(inputs, TWO.model_copy(update={"batch_size": 8, "micro_batch": 4}), tmp_path / "two")
    one = run(inputs, CONFIG.model_copy(update={"batch_size": 8, "micro_batch": 8}), inputs["out"])
    assert untimed(both) == pytest.approx(untimed(one), rel=1e-4)
    assert len(told.losses) == 4
    assert told.done == 1
    ours, theirs = (models.load(folder / "student")[0].state_dict() for folder in (inputs["out"], tmp_path / "two"))
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5)


def test_sharded_weights_train_the_same_student_and_any_number_of_processes_goes_on(
    inputs: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    # With scores that all ranks must agree on, adapters beside frozen weights, and a checkpoint after every step.
    alone = {"token_weights": False, "progressive": False, "checkpoint_seconds": 1e-9}
    config = CONFIG.model_copy(update={**alone, "objective": Acl(p=0.5, gamma=0), "adapter": Lora(rank=4, keep=True)})
    one = run(inputs, config, inputs["out"])
    two = config.model_copy(update={"processes": 2, "sharding": True})
    (tmp_path / "two").mkdir()
    assert untimed(run(inputs, two, tmp_path / "two")) == pytest.approx(untimed(one), rel=1e-4)
    for name in ("student/model", "adapter/adapter_model"):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (inputs["out"], tmp_path / "two"))
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-5)
    assert untimed(run(inputs, config, tmp_path / "two")) == pytest.approx(untimed(one), rel=1e-4)


class Joining(TeacherReplies):
    """Runs on a second machine, played by this one, what the launcher asks for."""

    process: subprocess.Popen[bytes] | None = None

    def warning(self, message: str) -> None:
        if "accelerate launch" in message:
            command = shlex.split(message[message.index("accelerate launch") :])
            self.process = subprocess.Popen([sys.executable, "-m", "accelerate.commands.launch", *command[2:]])


def accelerate_config(name: str, path: Path, **changed: object) -> Path:
    shipped = yaml.safe_load(recipes("accelerate")[name].read_text())
    assert changed.keys() <= shipped.keys()
    path.write_text(yaml.safe_dump({**shipped, "main_process_port": free_port(), **changed}))
    return path


def test_two_machines_of_accelerate_equal_one_process(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    file = accelerate_config("ddp", tmp_path / "ddp.yaml", num_machines=2, num_processes=2)
    told = Joining()
    (tmp_path / "two").mkdir()
    with observe.observing(told):
        both = run(inputs, CONFIG.model_copy(update={"accelerate": file}), tmp_path / "two")
    assert told.process is not None
    assert told.process.wait(timeout=300) == 0
    assert untimed(both) == pytest.approx(untimed(run(inputs, CONFIG, inputs["out"])), rel=1e-4)
    assert len(told.losses) == 4


def test_accelerate_splits_the_student_and_errors_come_back_as_they_are(
    inputs: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    file = accelerate_config("fsdp", tmp_path / "fsdp.yaml", num_processes=2)
    plain = {"token_weights": False, "progressive": False, "objective": Acl(), "accelerate": file}
    with pytest.raises(
        ModelError, match="acl needs a whole copy of the student"
    ):  # it does so only where weights are split
        run(inputs, CONFIG.model_copy(update=plain), inputs["out"])


class Cancelled(BaseException):
    """As an orchestrator raises it in the thread that waits for a stage."""


class Cancelling(TeacherReplies):
    def metrics(self, values: dict[str, float], step: int) -> None:
        raise Cancelled


def test_a_cancelled_run_leaves_no_process(inputs: dict[str, Path]) -> None:  # noqa: F811
    job = str(inputs["out"] / "work" / "job.json")
    with pytest.raises(Cancelled), observe.observing(Cancelling()):
        run(inputs, TWO, inputs["out"])
    wait_for_none(job)


def wait_for_none(marker: str) -> None:
    until(lambda: not processes_with(marker), "the end of the last process", seconds=300)


def test_a_killed_launcher_leaves_no_process_and_its_work_is_taken_up(
    inputs: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    long = CONFIG.model_copy(update={"budget": Budget(epochs=40), "progressive": False})  # to be met in the middle
    config = long.model_copy(update={"processes": 2, "checkpoint_seconds": 1e-9})
    told = {name: str(folder) for name, folder in inputs.items()}
    code = f"""
from pathlib import Path
from kpod.config import Budget, Distill
from kpod.distill.stage import run
inputs = {{name: Path(folder) for name, folder in {told!r}.items()}}
run(inputs, Distill.model_validate_json({config.model_dump_json()!r}), inputs["out"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    work = inputs["out"] / "work"
    while not list(work.glob("checkpoint-*")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    job = str(work / "job.json")
    assert len(processes_with(job)) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for_none(job)
    # One process goes on where two stopped.
    # A kill between two checkpoints may leave both.
    last = max(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    done = schemas.read(last / "history.parquet", schemas.HISTORY).to_pylist()
    told_later = TeacherReplies()
    with observe.observing(told_later):
        run(inputs, long, inputs["out"])
    history = schemas.read(inputs["out"] / "history.parquet", schemas.HISTORY).to_pylist()
    assert [row["loss"] for row in history[: len(done)]] == [row["loss"] for row in done]
    assert len(told_later.losses) == len(history) - len(done)
