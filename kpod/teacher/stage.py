"""Stage `rationales`: ask the teacher about every training question, and keep what is good."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kpod import observe, schemas
from kpod.answers.verify import check as check_verifier
from kpod.config import ImportEndpoint, Teacher
from kpod.errors import DataError, TeacherError
from kpod.store.home import home
from kpod.teacher import imports, local, tables
from kpod.teacher.ask import Asking, Question
from kpod.teacher.batch import BatchRun
from kpod.teacher.budget import Budget
from kpod.teacher.check import check
from kpod.teacher.client import Client
from kpod.teacher.journal import Journal
from kpod.teacher.online import Online
from kpod.teacher.plan import Plan
from kpod.teacher.reply import Reply
from kpod.teacher.verdict import judge, tell_unknown


def run(inputs: Mapping[str, Path], config: Teacher, out_dir: Path) -> dict[str, float]:
    """Write rationales.parquet (schemas.RATIONALES), report.json, and quarantine.parquet if a row went wrong.

    Answers that the journal under KPOD_HOME holds are not asked for again. Raises TeacherError if the run has to
    stop (what is finished stays in the journal), DataError if no rationale is kept.
    """
    questions = read_questions(inputs["questions"] / "questions.parquet")
    check_verifier(config.verifier)
    if isinstance(config.endpoint, ImportEndpoint):
        metrics, bad = _import(config.endpoint, questions, config, out_dir)
    else:
        metrics, bad = _ask(questions, config, out_dir)
    metrics["quarantined"] = float(len(bad))
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
        observe.warning(f"rationales: {len(bad)} of the rows failed, see quarantine.parquet ({bad[0]['reason']}, ...)")
    if not metrics["kept"]:
        reasons = {name: int(value) for name, value in metrics.items() if name.startswith("dropped/")}
        raise DataError(f"rationales: none of {int(metrics['rationales'])} is kept {reasons}; look at teacher.*")
    return metrics


def read_questions(path: Path) -> list[Question]:
    """The training questions, in the order of the file."""
    table = schemas.read(path, schemas.QUESTIONS)
    found = [
        Question(row["id"], row["question"], row["answer"], row["choices"])
        for row in table.to_pylist()
        if row["split"] == "train"
    ]
    if not found:
        raise DataError(f"{path.name} holds no training question")
    return found


def _ask(questions: Sequence[Question], config: Teacher, out_dir: Path) -> tuple[dict[str, float], list[tables.Row]]:
    asking, budget = Asking(config, local.identity(config.endpoint)), Budget(config)
    with Journal(home() / "journal") as journal:
        plan = Plan(questions, config, asking, journal, budget)
        jobs = plan.start()
        told = {"requests_sent": 0.0, "retries": 0.0, "from_journal": float(plan.counts["journal"])}
        if jobs:
            if (hopeless := plan.hopeless()) is not None:
                raise hopeless
            check(config)
            with (
                local.address(config.endpoint) as (url, key),
                observe.progress("rationales", plan.size, "question", initial=plan.size - plan.open) as bar,
            ):
                if config.batch:
                    asked: BatchRun | Online = BatchRun(plan, config, url, key, asking.route, journal, budget)
                    asked.run(jobs, bar)
                else:
                    client = Client(url, key, asking.route, config.timeout_s, config.concurrency)
                    asked = Online(plan, config, client, journal, budget)
                    asyncio.run(asked.run(jobs, bar))
            told |= {"requests_sent": float(asked.sent), "retries": float(asked.retries)}
        _refuse_too_many_failures(plan, config)
        metrics, bad = tables.write(plan.outcomes(), config, out_dir)
    if config.price is not None:
        told["unconfirmed_usd"] = float(budget.unconfirmed)
    return metrics | told, bad


def _refuse_too_many_failures(plan: Plan, config: Teacher) -> None:
    failed, planned = plan.counts["failed"], plan.counts["failed"] + plan.counts["done"]
    if failed > config.max_failed * planned:
        reason = next(iter(plan.failed.values()))
        raise TeacherError(
            f"{failed} of {planned} requests failed for good ({reason}, ...), more than teacher.max_failed allows;"
            " what is finished is kept, run again to ask for the rest"
        )


def _import(
    endpoint: ImportEndpoint, questions: Sequence[Question], config: Teacher, out_dir: Path
) -> tuple[dict[str, float], list[tables.Row]]:
    told: set[str] = set()
    bad: list[imports.Quarantined] = []
    replies: Iterator[tuple[Question, int, Reply]]
    if endpoint.format == "kpod":
        found, bad = imports.load(endpoint.rationales, questions, config)
        replies = ((one, sample, reply) for one in questions for sample, reply in found.get(one.id, ()))
    else:
        replies = imports.stream(endpoint, questions, config, bad)

    def judged() -> Iterator[tables.Outcome]:
        for question, sample, reply in replies:
            tell_unknown(reply, config, told)
            yield question, sample, (reply, judge(reply, question, config))

    metrics, _ = tables.write(judged(), config, out_dir)
    return metrics, [dict(row) for row in bad]
