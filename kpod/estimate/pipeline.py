"""All stages of a recipe that run a model: memory of the largest batch, hours at the usual lengths."""

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
from kpod.training.models import parameters

MARKS = 16  # tokens of the prompt around a question
LONGER = 1.5  # a batch of answers lasts as long as its longest, which is so many times the usual


@dataclass(frozen=True)
class Counts:
    """What a recipe has: questions by split, tokens of the usual and of the longest row, what the teacher would do."""

    questions: Counter[str]
    usual: Row
    longest: Row
    prompt: int  # longest prompt of the splits that are evaluated
    teacher: Estimate


@dataclass(frozen=True)
class Line:
    """One stage."""

    stage: str
    memory: Memory
    hours: float


def counts(config: Pipeline) -> Counts:
    """Load the questions of a recipe and count them; tokens are taken to be four bytes long.

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
    asked = [length for length, split in zip(prompts, splits, strict=True) if split in config.evaluate.splits]
    usual = Row(round(sum(train) / len(train)), teacher.usual)
    room = config.distill.max_tokens - max(train) - usual.answer
    longest = Row(max(train), max(1, min(max(one.max_tokens for one in config.all_teachers), room)))
    return Counts(Counter(splits), usual, longest, max(asked, default=0), teacher)


def lines(config: Pipeline, found: Counts, gpu: Gpu) -> list[Line]:
    """A line a stage; those of `distill` and `evaluate` are of one method, their hours of all together."""
    student = Shape(config_of(config.student))
    rationales = found.questions["train"] * max(one.samples for one in config.all_teachers)
    usual, longest = found.usual, found.longest
    methods = [method for method in config.methods if method != "base"]
    made = [
        _weights(config, student, rationales, found, gpu) if config.distill.token_weights else None,
        _difficulty(config, student, rationales, found, gpu) if config.distill.progressive else None,
    ]
    kind = memory.dtype(config.distill)
    told, flop = memory.distillation(student, config.distill, longest)
    targets = _targets(config.distill.budget, found) * len(methods)
    tokens = targets * usual.tokens / usual.target
    hours = computing(flop * tokens, gpu, kind, config.distill.processes)
    made.append(Line(f"distill, {len(methods)} methods", told, hours))
    asked = sum(found.questions[split] for split in config.evaluate.splits)
    if validation := config.distill.validation:
        epochs = math.ceil(targets / found.questions["train"] / usual.target)
        answers = memory.answering(student, kind, validation, found.prompt)
        resident = Memory(told.weights, optimizer=told.optimizer, activations=answers.activations, cache=answers.cache)
        count = min(validation.questions, found.questions["validation"]) * epochs
        steps = _steps(count, validation.batch_size, validation.max_new_tokens, usual)
        made.append(Line("distill, validation", resident, decoding(steps, _layers(student), resident.total, gpu)))
    answers = memory.answering(student, memory.dtype(config.evaluate), config.evaluate, found.prompt)
    steps = _steps(asked, config.evaluate.batch_size, config.evaluate.max_new_tokens, usual) * len(config.methods)
    made.append(
        Line(f"evaluate, {len(config.methods)} methods", answers, decoding(steps, _layers(student), answers.total, gpu))
    )
    return [line for line in made if line]


def _weights(config: Pipeline, student: Shape, rationales: int, found: Counts, gpu: Gpu) -> Line | None:
    settings = config.weights
    if settings.source == "rule" or settings.weighter is not None:
        return None
    shape = Shape(folder_config(settings.predictor)) if settings.predictor else student
    resolved = settings.for_predictor(parameters(shape(memory.dtype(settings))))
    told, flop = memory.weighting(shape, resolved, found.longest)
    trained = min(rationales * (1 - settings.validation), settings.train_on or math.inf)
    tokens = trained * (settings.epochs + settings.warmup) * (found.usual.prompt + found.usual.rationale)
    return Line("weights", told, computing(flop * tokens, gpu, memory.dtype(settings), settings.processes))


def _difficulty(config: Pipeline, student: Shape, rationales: int, found: Counts, gpu: Gpu) -> Line:
    settings = config.difficulty
    told, flop = memory.scoring(student, settings, found.longest)
    hours = computing(flop * rationales * found.usual.tokens, gpu, memory.dtype(settings), settings.processes)
    return Line("difficulty", told, hours)


def _targets(budget: Budget, found: Counts) -> float:
    """Target tokens of one method; a curriculum counted in epochs has fewer."""
    return budget.target_tokens or (budget.epochs or 0) * found.questions["train"] * found.usual.target


def _steps(asked: int, batch: int, longest: int, usual: Row) -> float:
    """Tokens that the batches of all questions take, one after the other."""
    return math.ceil(asked / batch) * min(longest, LONGER * usual.target)


def _layers(shape: Shape) -> int:
    return int(shape.config.num_hidden_layers)
