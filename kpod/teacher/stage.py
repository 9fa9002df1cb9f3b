"""Stage `rationales`: ask the teacher every training question, and filter the replies."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kpod import observe, schemas
from kpod.answers.verify import check as check_verifier
from kpod.config import ImportEndpoint, Teacher, Teachers
from kpod.errors import DataError
from kpod.store.home import home
from kpod.teacher import imports, local, tables
from kpod.teacher.ask import Question
from kpod.teacher.batch import BatchRun
from kpod.teacher.check import check
from kpod.teacher.client import Client
from kpod.teacher.journal import Journal
from kpod.teacher.online import Online
from kpod.teacher.plan import Job, Plan
from kpod.teacher.shares import shared_out
from kpod.teacher.tables import TeacherReplies
from kpod.teacher.verdict import judge, warn_unknown_finish


def run(inputs: Mapping[str, Path], config: Teacher | Teachers, out_dir: Path) -> dict[str, float]:
    """Write rationales.parquet (schemas.RATIONALES), report.json, and quarantine.parquet if a request failed.

    With several teachers, each is asked its own questions; rows then have the column `teacher`, and report.json and
    the figures are also given by teacher. Requests that the journal under KPOD_HOME answers are not sent. Raises
    TeacherError if the run has to stop (finished requests stay in the journal), DataError if no rationale is kept.
    """
    questions = read_questions(inputs["questions"] / "questions.parquet")
    parts = [(teacher, own) for teacher, own in shared_out(questions, config) if own]
    check_verifier(parts[0][0].verifier)
    with Journal(home() / "journal") as journal:
        teachers = [
            _ImportedTeacher(teacher.endpoint, own, teacher)
            if isinstance(teacher.endpoint, ImportEndpoint)
            else _LiveTeacher(own, teacher, journal)
            for teacher, own in parts
        ]
        for teacher in teachers:  # before the first of them is paid
            teacher.check()
        metrics, bad = tables.write([teacher.replies() for teacher in teachers], out_dir)
    metrics["quarantined"] = float(len(bad))
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
        observe.warning(f"rationales: {len(bad)} of the rows failed, see quarantine.parquet ({bad[0]['reason']}, ...)")
    if not metrics["kept"]:
        reasons = {name: int(value) for name, value in metrics.items() if name.startswith("dropped/")}
        raise DataError(f"rationales: none of {int(metrics['rationales'])} is kept {reasons}; look at teacher.*")
    return metrics


def read_questions(path: Path) -> list[Question]:
    """The training questions of a questions.parquet, in its order. Raises DataError if there is none."""
    table = schemas.read(path, schemas.QUESTIONS)
    questions = [
        Question(row["id"], row["question"], row["answer"], row["choices"])
        for row in table.to_pylist()
        if row["split"] == "train"
    ]
    if not questions:
        raise DataError(f"{path.name} holds no training question")
    return questions


class _LiveTeacher:
    """A teacher that is asked: the requests that its questions still need."""

    def __init__(self, questions: Sequence[Question], config: Teacher, journal: Journal) -> None:
        self._config, self._plan = config, Plan(questions, config, journal)
        self._jobs = self._plan.initial_jobs()
        self._from_journal = self._plan.counts["journal"]

    def check(self) -> None:
        """Raise ConfigError or TeacherError if requests are left that could not succeed."""
        if self._jobs:
            if (error := self._plan.stop_reason()) is not None:
                raise error
            check(self._config)

    def replies(self) -> TeacherReplies:
        """Send the requests that are left, and return all replies."""
        sent = retries = 0
        if self._jobs:
            requests = self._send(self._jobs)
            sent, retries = requests.sent, requests.retries
        counts = self._plan.counts
        if (error := self._plan.too_many_failed(counts["failed"] + counts["done"])) is not None:
            raise error
        metrics = {"requests_sent": float(sent), "retries": float(retries), "from_journal": float(self._from_journal)}
        if self._config.price is not None:
            metrics["unconfirmed_usd"] = float(self._plan.budget.unconfirmed)
        return TeacherReplies(self._config, self._plan.outcomes(), metrics)

    def _send(self, jobs: list[Job]) -> BatchRun | Online:
        plan, config = self._plan, self._config
        with (
            local.address(config.endpoint) as (url, key),
            observe.progress("rationales", plan.size, "question", initial=plan.size - plan.open) as bar,
        ):
            if config.batch:
                batch = BatchRun(plan, url, key)
                batch.run(jobs, bar)
                return batch
            online = Online(plan, Client(url, key, plan.asking.route, config.timeout_s, config.concurrency))
            asyncio.run(online.run(jobs, bar))
            return online


class _ImportedTeacher:
    """A teacher whose rationales are read from files."""

    def __init__(self, endpoint: ImportEndpoint, questions: Sequence[Question], config: Teacher) -> None:
        self._endpoint, self._questions, self._config = endpoint, questions, config

    def check(self) -> None:
        """Nothing to check: no request is sent."""

    def replies(self) -> TeacherReplies:
        """The replies in the files, read lazily."""
        bad: list[imports.Quarantined] = []
        return TeacherReplies(self._config, self._judged(bad), bad=bad)

    def _judged(self, bad: list[imports.Quarantined]) -> Iterator[tables.Outcome]:
        unknown: set[str] = set()
        for question, sample, reply in imports.replies(self._endpoint, self._questions, self._config, bad):
            warn_unknown_finish(reply, self._config, unknown)
            yield question, sample, (reply, judge(reply, question, self._config))
