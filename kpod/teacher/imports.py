"""Existing rationales, read from files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from kpod import observe
from kpod.config import ImportEndpoint, Teacher
from kpod.questions import rows
from kpod.teacher.ask import Question
from kpod.teacher.finish import finish_reason
from kpod.teacher.formats import FORMATS
from kpod.teacher.matching import Matcher
from kpod.teacher.reply import BadReply, Reply, count, estimate, parse

Quarantined = dict[str, str]


def replies(
    endpoint: ImportEndpoint, questions: Sequence[Question], config: Teacher, bad: list[Quarantined]
) -> Iterator[tuple[Question, int, Reply]]:
    """(question, sample, reply) of every completion in the endpoint's files; unreadable rows are added to `bad`."""
    read = _by_number if endpoint.format == "kpod" else _by_text
    return read(endpoint, questions, config, bad)


def _by_number(
    endpoint: ImportEndpoint, questions: Sequence[Question], config: Teacher, bad: list[Quarantined]
) -> Iterator[tuple[Question, int, Reply]]:
    """`replies` of files of this project's format, in the order of the questions, then of the samples.

    A row needs `question_id` or `id`, and `rationale`; `answer` is appended to the text as its closing sentence, and
    a row without `sample` gets the next free number. Token counts are read from the row or estimated.
    """
    by_question: dict[str, dict[int, Reply]] = {question.id: {} for question in questions}
    unnumbered: list[tuple[str, Reply]] = []
    for path in endpoint.rationales:
        for number, row in rows.read(path):
            try:
                question_id, sample, reply = _reply(row, config.model)
                if question_id not in by_question:
                    raise ValueError(f"no training question has the id {question_id!r}")
                if sample is None:
                    unnumbered.append((question_id, reply))
                elif sample in by_question[question_id]:
                    raise ValueError(f"sample {sample} of {question_id!r} occurs twice")
                else:
                    by_question[question_id][sample] = reply
            except ValueError as error:
                bad.append({"source": path.name, "row": str(number), "reason": str(error)})
    for question_id, reply in unnumbered:
        by_question[question_id][max(by_question[question_id], default=-1) + 1] = reply
    for question in questions:
        for sample in sorted(by_question[question.id]):
            yield question, sample, by_question[question.id][sample]


def _by_text(
    endpoint: ImportEndpoint, questions: Sequence[Question], config: Teacher, bad: list[Quarantined]
) -> Iterator[tuple[Question, int, Reply]]:
    """`replies` of files of another project's format, in their order.

    Nothing is held in memory. A row names its question by `question_id`, or is matched by its text. Completions that
    match no question are skipped, with a warning that counts them; unreadable rows are added to `bad`.
    """
    by_id = {question.id: question for question in questions}
    matcher, read = Matcher(questions), FORMATS[endpoint.format]
    used: Counter[str] = Counter()
    passed = 0
    for path in endpoint.rationales:
        for number, row in rows.read(path):
            try:
                completions = list(read(row)) if isinstance(row, dict) else []
                reason = None if isinstance(row, dict) else "not a JSON object"
            except ValueError as error:
                completions, reason = [], str(error)
            for completion in completions:
                named = by_id.get(str(completion.row.get("question_id")))
                matching = [named] if named else matcher.find(completion.question)
                passed += not matching
                try:
                    reply = parse(completion.payload, len(completion.question.encode("utf-8", "replace")), config.model)
                except BadReply as error:
                    reason = str(error)
                    continue
                for question in matching:
                    yield question, used[question.id], reply
                    used[question.id] += 1
            if reason is not None:
                bad.append({"source": path.name, "row": str(number), "reason": reason})
    if passed:
        observe.warning(f"import: {passed} completions belong to no training question and are passed over")


def _reply(row: dict[str, Any] | str, model: str) -> tuple[str, int | None, Reply]:
    """Question id, sample and reply of a row. Raises ValueError with the reason if it is unusable."""
    if isinstance(row, str):
        raise ValueError("not a JSON object")
    question = row.get("id") if row.get("question_id") is None else row["question_id"]
    if question is None or not isinstance(row.get("rationale"), str) or not row["rationale"].strip():
        raise ValueError("a row needs question_id (or id) and a rationale")
    sample = row.get("sample")
    if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or not 0 <= sample < 2**31):
        raise ValueError(f"sample {sample!r} is no number from 0")
    text = row["rationale"].strip()
    if row.get("answer") not in (None, ""):
        text += f" The answer is {row['answer']}."
    counts = [count(row.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    counted = None not in counts
    return (
        str(question),
        sample,
        Reply(
            text=text,
            thinking=None,
            refused=False,
            finish_reason=finish_reason(row.get("finish_reason")),
            prompt_tokens=int(counts[0] or 0) if counted else 0,
            completion_tokens=int(counts[1] or 0) if counted else estimate(len(text.encode())),
            estimated=not counted,
            model=str(row.get("model") or row.get("teacher") or model),
        ),
    )
