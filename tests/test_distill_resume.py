import multiprocessing
import multiprocessing.context
import signal
from pathlib import Path

import pytest
import torch
from distill_tiny import train_until_killed, trained

from kpod import observe
from kpod.training import interval
from kpod.training.checkpoint import Checkpoints
from kpod.training.task import Position, Task

pytestmark = pytest.mark.usefixtures("checkpoint_every_step")

STEPS = 9  # 20 rows in batches of 8, three epochs


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start from one which has done the imports and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distill_tiny", "peft"])
    return context


def killed(
    processes: multiprocessing.context.ForkServerContext, student: str, adapter: str, work: Path, after: int
) -> None:
    """Train in a process of its own, saving after every step, which is killed once checkpoint `after` is there."""
    process = processes.Process(target=train_until_killed, args=(student, adapter, work, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("student", "adapter", "after"), [("llama", "full", 2), ("llama", "lora", 4), ("t5", "full", 5)]
)
def test_a_killed_run_goes_on_to_the_same_last_bit(
    processes: multiprocessing.context.ForkServerContext, student: str, adapter: str, after: int, tmp_path: Path
) -> None:
    # With dropout, so that the random masks of the later steps are part of what must come back.
    settings = {"adapter": {"kind": adapter}, "dropout": 0.1}
    whole, history = trained(student, tmp_path / "whole", **settings)
    assert len(history) == STEPS
    killed(processes, student, adapter, tmp_path / "killed", after)
    left = sorted(path.name for path in (tmp_path / "killed").glob("checkpoint-*"))
    assert left
    assert left != [f"checkpoint-{STEPS}"]
    resumed, history_of_both = trained(student, tmp_path / "killed", **settings)
    assert history_of_both == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_only_the_last_checkpoint_is_kept(tmp_path: Path) -> None:
    trained("llama", tmp_path, checkpoint_seconds=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == [f"checkpoint-{STEPS}"]


@pytest.mark.parametrize(("cost", "expected"), [(0, [3, 6, 9]), (0.1, [3, 6, 9]), (2, [3, 7])])
def test_an_interval_is_twenty_times_the_cost_of_a_checkpoint_or_more(
    cost: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 10 seconds, a checkpoint each 25 seconds at most; epochs have three steps and change nothing."""
    now, saved = [0.0], []

    def save(_: Checkpoints, position: Position) -> None:
        saved.append(position.step)
        now[0] += cost

    adam = torch.optim.AdamW.step

    def slow(self: torch.optim.AdamW) -> None:
        adam(self)
        now[0] += 10

    monkeypatch.setattr(interval, "RATIO", 20)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(torch.optim.AdamW, "step", slow)
    monkeypatch.setattr(Checkpoints, "save", save)
    trained("llama", tmp_path, checkpoint_seconds=25.0)
    assert saved == expected


def test_the_first_checkpoint_of_a_large_model_waits_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(interval, "RATIO", 20)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    found = interval.Interval(60.0, size=100 * 10**9)  # 8B parameters under AdamW: 100 s at 1 GB/s
    now[0] = 1999
    assert not found.due()
    now[0] = 2000
    assert found.due()


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, history = trained("llama", tmp_path, checkpoint_seconds=1e-9)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: pytest.fail("a step was done twice"))
    again, history_again = trained("llama", tmp_path)
    assert history_again == history
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("change", [{"lr": 2e-2}, {"seed": 1}, {"budget": {"epochs": 4}}])
def test_a_checkpoint_of_other_settings_is_not_taken_up(change: dict, tmp_path: Path) -> None:
    trained("llama", tmp_path, checkpoint_seconds=1e-9)
    _, fresh = trained("llama", tmp_path / "fresh", **change)
    _, history = trained("llama", tmp_path, **change)
    assert history == fresh


def test_operational_settings_may_change_between_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, history = trained("llama", tmp_path, checkpoint_seconds=1e-9)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: pytest.fail("a step was done twice"))
    _, again = trained("llama", tmp_path, checkpoint_seconds=500.0, micro_batch=3)
    assert again == history


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    _, history = trained("llama", tmp_path / "whole")
    (tmp_path / "killed" / "building").mkdir(parents=True)
    (tmp_path / "killed" / "building" / "state.safetensors").write_bytes(b"half")
    _, again = trained("llama", tmp_path / "killed", checkpoint_seconds=1e-9)
    assert again == history


@pytest.mark.parametrize("file", ["state.safetensors", "history.parquet", "position.json"])
def test_a_checkpoint_that_lost_bytes_is_passed_over(file: str, tmp_path: Path) -> None:
    _, history = trained("llama", tmp_path, checkpoint_seconds=1e-9)
    [last] = tmp_path.glob("checkpoint-*")
    (last / file).write_bytes((last / file).read_bytes()[:20])
    told = TeacherReplies()
    with observe.observing(told):
        _, again = trained("llama", tmp_path, checkpoint_seconds=1e-9)
    assert again == history
    assert [message for message in told.warnings if last.name in message]


class TeacherReplies:
    """An observer that remembers the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None: ...

    def metrics(self, values: dict[str, float], step: int) -> None: ...

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def test_a_parameter_that_never_had_a_gradient_comes_back(tmp_path: Path) -> None:
    def task(value: float) -> Task:
        made = Task()
        made.fingerprint = "run"
        made.parameters = {name: torch.nn.Parameter(torch.full((2,), value)) for name in ("idle", "used")}
        made.optimizer = torch.optim.AdamW(made.parameters.values())
        made.buffers = {"kept": torch.full((3,), value)}
        return made

    old, new = task(7.0), task(0.0)
    old.parameters["used"].grad = torch.ones(2)
    old.optimizer.step()
    Checkpoints(tmp_path, old).save(Position(step=1))
    assert Checkpoints(tmp_path, new).restore() == Position(step=1)
    for mine, theirs in ((old.parameters, new.parameters), (old.buffers, new.buffers)):
        assert all(torch.equal(theirs[name], value) for name, value in mine.items())
    states = [one.optimizer.state[one.parameters["used"]] for one in (old, new)]
    assert all(torch.equal(states[1][slot], value) for slot, value in states[0].items())
    assert not new.optimizer.state[new.parameters["idle"]]
