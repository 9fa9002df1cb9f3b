"""The replay teacher: answers a question with its stored rationale."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from kpod.config import ReplayEndpoint
from kpod.errors import DataError
from kpod.questions import rows
from kpod.text.prompts import question_text

UNKNOWN = "I have no stored rationale for this question."
WINDOW = 24


class Replay:
    """Answers sample s of the question in a prompt with the question's stored rationale number s."""

    def __init__(self, endpoint: ReplayEndpoint) -> None:
        """Raises DataError if a file is unreadable, or no rationale belongs to a known question."""
        texts = _questions(endpoint.questions)
        stored: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, row in rows.read(endpoint.rationales):
            if isinstance(row, str) or str(row.get("id")) not in texts or not row.get("rationale"):
                continue
            text = str(row["rationale"]).rstrip()
            if row.get("answer") not in (None, ""):
                text += f" The answer is {row['answer']}."
            sample = row.get("sample") or 0
            if not isinstance(sample, int):
                raise DataError(f"{endpoint.rationales}, row {number}: sample {sample!r} is no number")
            stored[texts[str(row["id"])]].append((sample, text))
        if not stored:
            raise DataError(f"{endpoint.rationales} holds no rationale of a question in {endpoint.questions}")
        self._stored = {question: [text for _, text in sorted(rationales)] for question, rationales in stored.items()}
        self._window = min(WINDOW, *map(len, self._stored))
        self._starts: dict[str, list[str]] = defaultdict(list)
        for question in self._stored:
            self._starts[question[: self._window]].append(question)

    def answer(self, prompt: str, sample: int) -> str:
        """The stored rationale with its closing sentence; UNKNOWN for another question or if there are no more."""
        rationales = self._stored.get(self._find(_plain(prompt)), [])
        return rationales[sample] if sample < len(rationales) else UNKNOWN

    def _find(self, prompt: str) -> str:
        """The known question that ends last in the prompt (few-shot examples precede it), the longest of those."""
        best = (-1, 0, "")
        for i in range(len(prompt) - self._window + 1):
            for question in self._starts.get(prompt[i : i + self._window], ()):
                if prompt.startswith(question, i):
                    best = max(best, (i + len(question), len(question), question))
        return best[2]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _questions(files: Iterable[Path]) -> dict[str, str]:
    """Question id -> its text with options, as prompts show it."""
    texts = {}
    for path in files:
        for _, row in rows.read(path):
            if isinstance(row, dict) and row.get("id") is not None and row.get("question"):
                choices = row.get("choices")
                options = list(choices.values()) if isinstance(choices, dict) else choices
                texts[str(row["id"])] = _plain(question_text(str(row["question"]), options))
    return texts
