"""The files of the stage: the table of rationales, the report of yield, cost and drop reasons, the failed rows."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from kpod import schemas
from kpod.config import SharedTeacher, Teacher
from kpod.store.files import write_text
from kpod.teacher.ask import Question
from kpod.teacher.budget import cost
from kpod.teacher.reply import Reply
from kpod.teacher.verdict import FAILED, Verdict, source

CHUNK = 1000
Row = dict[str, Any]
Judged = tuple[Reply, Verdict]
Outcome = tuple[Question, int, Judged | str]  # question, sample, and the reply or the reason of a failure


class Tally:
    """Counts over the rows of one teacher."""

    def __init__(self, config: Teacher) -> None:
        self._config = config
        self._reasons: Counter[str] = Counter()
        self._questions: set[str] = set()
        self._served: set[str] = set()
        self._rows = self._correct = self._prompt = self._completion = self._estimated = 0
        self._usd = Decimal(0)

    def add(self, question: Question, reply: Reply | None, verdict: Verdict) -> Decimal | None:
        """Count a row; returns its cost in US dollars, None without a price or a reply."""
        self._rows += 1
        self._correct += verdict.correct
        self._questions.add(question.id)
        if verdict.kept:
            self._served.add(question.id)
        else:
            self._reasons[str(verdict.drop_reason)] += 1
        if reply is None:
            return None
        self._prompt += reply.prompt_tokens
        self._completion += reply.completion_tokens
        self._estimated += reply.estimated
        if self._config.price is None:
            return None
        usd = cost(self._config.price, reply.prompt_tokens, reply.completion_tokens)
        self._usd += usd
        return usd

    def report(self) -> Row:
        """The content of report.json."""
        return {
            "model": self._config.model,
            "questions": len(self._questions),
            "questions_served": len(self._served),
            "rationales": self._rows,
            "kept": self._rows - self._reasons.total(),
            "correct": self._correct,
            "dropped": dict(sorted(self._reasons.items())),
            "prompt_tokens": self._prompt,
            "completion_tokens": self._completion,
            "rows_with_estimated_tokens": self._estimated,
            "cost_usd": None if self._config.price is None else f"{self._usd:f}",
        }


@dataclass
class TeacherReplies:
    """The replies of one teacher, iterated once."""

    config: Teacher
    outcomes: Iterable[Outcome]
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the requests
    bad: list[Row] = field(default_factory=list)  # rows of schemas.QUARANTINE, complete when `outcomes` has ended


def write(replies: Sequence[TeacherReplies], out_dir: Path) -> tuple[dict[str, float], list[Row]]:
    """Write rationales.parquet and report.json; returns the metrics, and rows of schemas.QUARANTINE.

    Rows are written in chunks, so memory does not grow with their texts. With several teachers, each row has the name
    of its teacher, and report and metrics are also given by teacher.
    """
    several = any(isinstance(teacher.config, SharedTeacher) for teacher in replies)
    schema = schemas.RATIONALES_OF_SEVERAL if several else schemas.RATIONALES
    reports: list[Row] = []
    bad: list[Row] = []
    with schemas.writing(out_dir / "rationales.parquet", schema) as write_rows:
        for teacher in replies:
            tally = Tally(teacher.config)
            rows = _rows(teacher, tally)
            while chunk := list(islice(rows, CHUNK)):
                write_rows(chunk)
            reports.append(tally.report())
            bad += teacher.bad
    report = _summed(reports)
    metrics = _flat(report)
    for teacher in replies:
        metrics |= {name: metrics.get(name, 0.0) + value for name, value in teacher.metrics.items()}
    if several:
        pairs = zip(replies, reports, strict=True)
        named = {teacher.config.name: part for teacher, part in pairs if isinstance(teacher.config, SharedTeacher)}
        report["teachers"] = named
        metrics |= {f"{key}/{name}": value for name, part in named.items() for key, value in _flat(part).items()}
    write_text(out_dir / "report.json", json.dumps(report, indent=2) + "\n")
    return metrics, bad


def _summed(reports: Sequence[Row]) -> Row:
    """The report over all teachers, which were asked different questions."""
    first, *rest = reports
    total = dict(first)
    for other in rest:
        total["model"] = ", ".join(dict.fromkeys([*total["model"].split(", "), other["model"]]))
        total |= {key: total[key] + value for key, value in other.items() if isinstance(value, int)}
        total["dropped"] = dict(sorted((Counter(total["dropped"]) + Counter(other["dropped"])).items()))
        usd = [report["cost_usd"] for report in (total, other) if report["cost_usd"] is not None]
        total["cost_usd"] = f"{sum(map(Decimal, usd)):f}" if usd else None
    return total


def _flat(report: Row) -> dict[str, float]:
    """The numbers of a report, by name."""
    flat = {name: float(value) for name, value in report.items() if isinstance(value, int)}
    flat |= {f"dropped/{reason}": float(count) for reason, count in report["dropped"].items()}
    flat["yield"] = flat["kept"] / max(1.0, flat["rationales"])
    if report["cost_usd"] is not None:
        flat["cost_usd"] = float(report["cost_usd"])
    return flat


def _rows(replies: TeacherReplies, tally: Tally) -> Iterator[Row]:
    """The rows of schemas.RATIONALES of one teacher; counts each, and adds failed requests to `replies.bad`."""
    config = replies.config
    for question, sample, outcome in replies.outcomes:
        reply: Reply | None = None
        if isinstance(outcome, str):
            replies.bad.append({"source": "teacher", "row": f"{question.id}/{sample}", "reason": outcome})
            verdict = Verdict(0, None, False, FAILED)
        else:
            reply, verdict = outcome
        usd = tally.add(question, reply, verdict)
        yield {
            "question_id": question.id,
            "sample": sample,
            "rationale": source(reply, config)[: verdict.length] if reply else "",
            "answer": verdict.answer,
            "correct": verdict.correct,
            "kept": verdict.kept,
            "drop_reason": verdict.drop_reason,
            "model": reply.model if reply else config.model,
            "finish_reason": reply.finish_reason if reply else FAILED,
            "prompt_tokens": reply.prompt_tokens if reply else 0,
            "completion_tokens": reply.completion_tokens if reply else 0,
            "cost_usd": None if usd is None else float(usd),
            **({"teacher": config.name} if isinstance(config, SharedTeacher) else {}),
        }
