"""The one prompt of training, difficulty and evaluation (paper, section 3.1).

`Q: <question> A: Let's think step by step. <rationale> Therefore, the answer is <answer>.`
"""

from collections.abc import Sequence

ANSWER_WORDS = "Therefore, the answer is"


def question_text(question: str, choices: Sequence[str] | None = None) -> str:
    """The question with its options, lettered from (A), behind it."""
    if not choices:
        return question.strip()
    options = " ".join(f"({letter(i)}) {choice}" for i, choice in enumerate(choices))
    return f"{question.strip()} Answer choices: {options}"


def letter(index: int) -> str:
    """The letter of an option: 0 is A."""
    return chr(ord("A") + index)


def prompt(question: str, choices: Sequence[str] | None = None) -> str:
    """What the student is given."""
    return f"{direct_prompt(question, choices)} Let's think step by step."


def direct_prompt(question: str, choices: Sequence[str] | None = None) -> str:
    """The prompt of records that answer at once, which only the method `specialized` trains on."""
    return f"Q: {question_text(question, choices)} A:"


def answer_text(answer: str) -> str:
    """The last words of the target; the answer term of Eq. 1 is trained on them."""
    return f" {ANSWER_WORDS} {answer.strip()}."
