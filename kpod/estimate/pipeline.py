"""Memory of the largest batch and hours at the usual lengths, for all stages of a recipe that run a model."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kpod import schemas
from kpod.config import Budget, Pipeline
from kpod.estimate import memory
from kpod.estimate.hours import Gpu, computing, decoding
from kpod.estimate.memory import Memory, Row
from kpod.estimate.student import Shape, config_of, folder_config
from kpod.questions import stage as questions
from kpod.teacher.estimate import Estimate, estimate
from kpod.teacher.reply import estimate as tokens_of

MARKS = 16  # tokens of the prompt around a question
LONGER = 1.5  # length of the longest answer of a batch, over the usual one


@dataclass(frozen=True)
class Counts:
    """The sizes of a recipe."""

    questions: Counter[str]  # by split
    usual: Row  # tokens of the mean row
    longest: Row
    prompt: int  # tokens of the longest prompt of the splits that are evaluated
    teacher: Estimate  # requests and cost


@dataclass(frozen=True)
class Line:
    """The estimate of one stage: memory of one process, hours on all of its GPUs."""

    stage: str
    memory: Memory
    hours: float


def counts(config: Pipeline) -> Counts:
    """Load the questions of a recipe and count them, at four bytes a token.

    A row can be as long as the longest prompt and the teacher's longest completion, and is never longer than
    `distill.max_tokens`. Raises KpodError as the stages would.
    """
    with TemporaryDirectory() as folder:
        questions.run({}, config.questions, Path(folder))
        path = Path(folder) / "questions.parquet"
        table = schemas.read(path, schemas.QUESTIONS)
        teacher = estimate(path, config.teaching)
    splits = table["split"].to_pylist()
    prompts = [MARKS + tokens_of(len(text.encode())) for text in table["question"].to_pylist()]
    train = [length for length, split in zip(prompts, splits, strict=True) if split == "train"]
    evaluated = [length for length, split in zip(prompts, splits, strict=True) if split in config.evaluate.splits]
    usual = Row(round(sum(train) / len(train)), teacher.usual)
    room = config.distill.max_tokens - max(train) - usual.answer
    longest = Row(max(train), max(1, min(max(settings.max_tokens for settings in config.all_teachers), room)))
    return Counts(Counter(splits), usual, longest, max(evaluated, default=0), teacher)


def lines(config: Pipeline, counts: Counts, gpu: Gpu) -> list[Line]:
    """One line a stage; memory of `distill` and `evaluate` is that of one method, their hours are of all methods."""
    student = Shape(config_of(config.student))
    rationales = counts.questions["train"] * max(teacher.samples for teacher in config.all_teachers)
    usual, longest = counts.usual, counts.longest
    methods = [method for method in config.methods if method != "base"]
    rows = [
        _weights(config, student, rationales, counts, gpu) if config.distill.token_weights else None,
        _difficulty(config, student, rationales, counts, gpu) if config.distill.progressive else None,
    ]
    kind = memory.dtype(config.distill)
    training, flop = memory.distillation(student, config.distill, longest)
    targets = _targets(config.distill.budget, counts) * len(methods)
    tokens = targets * usual.tokens / usual.target
    hours = computing(flop * tokens, gpu, kind, config.distill.processes)
    rows.append(Line(f"distill, {len(methods)} methods", training, hours))
    evaluated = sum(counts.questions[split] for split in config.evaluate.splits)
    if validation := config.distill.validation:
        epochs = math.ceil(targets / counts.questions["train"] / usual.target)
        answers = memory.answering(student, kind, validation, counts.prompt)
        resident = Memory(
            training.weights, optimizer=training.optimizer, activations=answers.activations, cache=answers.cache
        )
        answered = min(validation.questions, counts.questions["validation"]) * epochs
        steps = _steps(answered, validation.batch_size, validation.max_new_tokens, usual)
        rows.append(Line("distill, validation", resident, decoding(steps, _layers(student), resident.total, gpu)))
    answers = memory.answering(student, memory.dtype(config.evaluate), config.evaluate, counts.prompt)
    steps = _steps(evaluated, config.evaluate.batch_size, config.evaluate.max_new_tokens, usual) * len(config.methods)
    rows.append(
        Line(f"evaluate, {len(config.methods)} methods", answers, decoding(steps, _layers(student), answers.total, gpu))
    )
    return [line for line in rows if line]


def _weights(config: Pipeline, student: Shape, rationales: int, counts: Counts, gpu: Gpu) -> Line | None:
    settings = config.weights
    if settings.source == "rule" or settings.weighter is not None:
        return None
    shape = Shape(folder_config(settings.predictor)) if settings.predictor else student
    resolved = settings.for_predictor(shape(memory.dtype(settings)).num_parameters())
    training, flop = memory.weighting(shape, resolved, counts.longest)
    trained = min(rationales * (1 - settings.validation), settings.train_on or math.inf)
    tokens = trained * (settings.epochs + settings.warmup) * (counts.usual.prompt + counts.usual.rationale)
    return Line("weights", training, computing(flop * tokens, gpu, memory.dtype(settings), settings.processes))


def _difficulty(config: Pipeline, student: Shape, rationales: int, counts: Counts, gpu: Gpu) -> Line:
    settings = config.difficulty
    scoring, flop = memory.scoring(student, settings, counts.longest)
    hours = computing(flop * rationales * counts.usual.tokens, gpu, memory.dtype(settings), settings.processes)
    return Line("difficulty", scoring, hours)


def _targets(budget: Budget, counts: Counts) -> float:
    """Target tokens of one method, an upper bound for a curriculum counted in epochs."""
    return budget.target_tokens or (budget.epochs or 0) * counts.questions["train"] * counts.usual.target


def _steps(questions: int, batch: int, longest: int, usual: Row) -> float:
    """Decoding steps of all batches, one after the other."""
    return math.ceil(questions / batch) * min(longest, LONGER * usual.target)


def _layers(shape: Shape) -> int:
    return int(shape.config.num_hidden_layers)
