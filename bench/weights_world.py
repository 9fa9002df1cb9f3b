"""Rationales of which it is known what matters, as the stages before `weights` write them; for weights*.py."""

from pathlib import Path

import numpy as np

KINDS = ("operand", "result", "sign", "equals", "words", "filler")


def world(folder: Path, seed: int, rationales: int) -> dict[str, Path]:
    """Folders as the stages before `weights` write them; the student is pretrained once."""
    from kpod import schemas
    from kpod.answers.closings import strip_closing
    from kpod.config import Form, ScratchStudent, ScriptedEndpoint, Steps, WordProblems
    from kpod.questions.wordproblems import generate
    from kpod.steps import stage as steps
    from kpod.student import stage as base
    from kpod.teacher.scripted import Scripted
    from kpod.text.prompts import prompt
    from kpod.tokens import stage as tokens

    inputs = {name: folder / name for name in ("questions", "rationales", "steps", "base", "tokens")}
    for path in inputs.values():
        path.mkdir(parents=True, exist_ok=True)
    questions = generate(WordProblems(train=rationales, validation=0, test=0, longer=0, seed=seed))
    teacher = Scripted(ScriptedEndpoint(wrong=0.0, seed=seed))
    rows = [
        {
            "question_id": row["id"], "sample": 0, "answer": row["answer"], "correct": True, "kept": True,
            "rationale": strip_closing(teacher.answer(prompt(str(row["question"])), 0)), "drop_reason": None,
            "model": "scripted", "finish_reason": "stop", "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": None,
        }
        for row in questions
    ]  # fmt: skip
    schemas.write(inputs["questions"] / "questions.parquet", schemas.table(questions, schemas.QUESTIONS))
    schemas.write(inputs["rationales"] / "rationales.parquet", schemas.table(rows, schemas.RATIONALES))
    steps.run({"rationales": inputs["rationales"]}, Steps(), inputs["steps"])
    if not (inputs["base"] / "student" / "config.json").is_file():
        base.run({}, ScratchStudent(seed=seed), inputs["base"])
    tokens.run(inputs, Form(), inputs["tokens"])
    return inputs


def truth(text: str, spans: np.ndarray) -> list[str]:
    """What each token is: a part of an equation, other words of its sentence, or filler."""
    from kpod.teacher.scripted import EQUATION, FILLER

    kind = ["words"] * len(text)
    for sentence in FILLER:
        start = text.find(sentence)
        while start >= 0:
            kind[start : start + len(sentence)] = ["filler"] * len(sentence)
            start = text.find(sentence, start + 1)
    for equation in EQUATION.finditer(text):
        for group, name in ((1, "operand"), (2, "sign"), (3, "operand"), (4, "result")):
            start, end = equation.span(group)
            kind[start:end] = [name] * (end - start)
        kind[text.index("=", equation.start())] = "equals"
    places = ([i for i in range(start, end) if not text[i].isspace()] for start, end in spans)
    return [kind[found[0]] if found else "space" for found in places]
