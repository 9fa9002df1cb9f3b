"""Dry run of the stage: its requests, tokens and cost. Nothing is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from kpod.config import ImportEndpoint, Pipeline, Teacher, Teachers
from kpod.questions import stage as questions
from kpod.store.home import home
from kpod.teacher.ask import Question
from kpod.teacher.budget import OVERHEAD, cost
from kpod.teacher.journal import Journal
from kpod.teacher.plan import Plan
from kpod.teacher.reply import estimate as tokens_of
from kpod.teacher.shares import shared_out
from kpod.teacher.stage import read_questions

USUAL_COMPLETION = 200  # tokens of a rationale, as long as the journal has none of this teacher


@dataclass(frozen=True)
class Estimate:
    """The requests that are left. Dollars are None without `teacher.price`."""

    finished: int  # requests that the journal answers
    requests: int
    prompt_tokens: int
    completion_tokens: int
    expected_usd: Decimal | None
    most_usd: Decimal | None  # every completion as long as allowed, and every resample needed
    usual: int  # tokens of a completion; of several teachers, the most

    def __add__(self, other: "Estimate") -> "Estimate":
        """The sum for two teachers; dollars are known only if both have a price."""
        pairs = ((self.expected_usd, other.expected_usd), (self.most_usd, other.most_usd))
        expected, most = (None if a is None or b is None else a + b for a, b in pairs)
        return Estimate(
            self.finished + other.finished,
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            expected,
            most,
            max(self.usual, other.usual),
        )

    def __str__(self) -> str:
        money = "no price is set"
        if self.expected_usd is not None and self.most_usd is not None:
            money = f"about {self.expected_usd:.2f} US dollars, {self.most_usd:.2f} at the very most"
        return (
            f"{self.requests} requests ({self.finished} are in the journal), about {self.prompt_tokens} tokens in and"
            f" {self.completion_tokens} out: {money}"
        )


def estimate_pipeline(config: Pipeline) -> Estimate:
    """The estimate for all teachers of a configuration, whose questions are loaded. Raises KpodError as the stages."""
    with TemporaryDirectory() as folder:
        questions.run({}, config.questions, Path(folder))
        return estimate(Path(folder) / "questions.parquet", config.teaching)


def estimate(table: Path, config: Teacher | Teachers) -> Estimate:
    """The estimate for a questions.parquet, given the journal. Raises DataError, ConfigError as the stage would."""
    estimates = [
        _estimate(questions, settings) for settings, questions in shared_out(read_questions(table), config) if questions
    ]
    return sum(estimates[1:], estimates[0])


def _estimate(questions: Sequence[Question], config: Teacher) -> Estimate:
    if isinstance(config.endpoint, ImportEndpoint):
        return Estimate(0, 0, 0, 0, Decimal(0), Decimal(0), USUAL_COMPLETION)
    with Journal(home() / "journal") as journal:
        plan = Plan(questions, config, journal)
        sizes = [plan.ask(*job).size for job in plan.initial_jobs()]
        most_asked = [(plan.ask(index, 0).size, count) for index, count in enumerate(plan.at_most) if count]
        done, completion_tokens = plan.counts["done"], plan.counts["completion_tokens"]
    usual = min(config.max_tokens, completion_tokens / done if done else USUAL_COMPLETION)
    prompt, completion = sum(map(tokens_of, sizes)), round(usual * len(sizes))
    expected = most = None
    if config.price is not None:
        expected = cost(config.price, prompt, completion)
        dearest = (count * cost(config.price, size + OVERHEAD, config.max_tokens) for size, count in most_asked)
        most = sum(dearest, Decimal(0))
    return Estimate(done, len(sizes), prompt, completion, expected, most, round(usual))
