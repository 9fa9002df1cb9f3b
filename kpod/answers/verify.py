"""Judging of completions, the same for the teacher's replies, validation and evaluation."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kpod.answers.equality import answers_equal
from kpod.answers.extract import extract_answer, stated_text
from kpod.answers.formats import as_sentence
from kpod.answers.spelling import normalize
from kpod.answers.verifiers import MathVerifier, PythonVerifier, TextVerifier, Verifier
from kpod.answers.workers import Failed, worker_of
from kpod.errors import ConfigError
from kpod.text.prompts import SENTENCE, AnswerFormat

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one completion."""

    answer: str | None  # as extracted; None if there is none
    correct: bool
    score: float  # in [0, 1]
    failure: str | None = None  # why the verifier could not judge; `correct` is then False


def check(settings: Verifier | None) -> None:
    """Start the verifier's worker process, if it has one, before money is spent. Raises ConfigError if that fails."""
    if isinstance(settings, MathVerifier | PythonVerifier):
        try:
            worker_of(settings).start()
        except Failed as error:
            raise ConfigError(f"verifier: {error}") from None


def verify(
    settings: Verifier | None,
    question: str,
    completion: str,
    gold: str,
    choices: Sequence[str] | None = None,
    form: AnswerFormat = SENTENCE,
) -> Outcome:
    """Judge one completion against the gold answer. Without settings: by option if there are `choices`, else by number.

    `form` is how the answer is stated; a function of the user's is given the completion as it is. Never raises: an
    Outcome whose `failure` is set says why the verifier could not judge.
    """
    if not isinstance(settings, PythonVerifier):
        completion = as_sentence(form, completion)
    if isinstance(settings, TextVerifier):
        return _text(settings, completion, gold)
    if isinstance(settings, MathVerifier | PythonVerifier):
        return _by_worker(settings, question, completion, gold)
    kind = settings.kind if settings else "choice" if choices else "number"
    if kind == "choice" and not choices:
        return Outcome(None, False, 0.0, "the question has no options")
    answer = extract_answer(completion, choices if kind == "choice" else None)
    correct = answer is not None and (answer == gold or answers_equal(answer, gold))
    return Outcome(answer, correct, float(correct))


def f1(stated: str, gold: str) -> float:
    """F1 (harmonic mean of precision and recall) of the words of two texts, in [0, 1]; 1 if both have none."""
    a, b = _normal(stated).split(), _normal(gold).split()
    if not a or not b:
        return float(a == b)
    shared = sum((Counter(a) & Counter(b)).values())
    return 2 * shared / (len(a) + len(b))


def _text(settings: TextVerifier, completion: str, gold: str) -> Outcome:
    stated = stated_text(completion)
    if stated is None:
        return Outcome(None, False, 0.0)
    golds = [gold, *settings.aliases.get(gold, ())]
    same = any(_normal(stated) == _normal(accepted) != "" for accepted in golds)
    score = 1.0 if same else max(f1(stated, accepted) for accepted in golds)
    return Outcome(stated, same or (settings.min_f1 is not None and score >= settings.min_f1), score)


def _normal(text: str) -> str:
    """Without case, punctuation and articles (as SQuAD compares)."""
    return " ".join(_ARTICLES.sub(" ", normalize(text).casefold().translate(_PUNCTUATION)).split())


def _by_worker(settings: MathVerifier | PythonVerifier, question: str, completion: str, gold: str) -> Outcome:
    try:
        answer, score = worker_of(settings).ask(question, completion, gold)
    except Failed as error:
        return Outcome(None, False, 0.0, str(error))
    if isinstance(settings, MathVerifier):
        return Outcome(answer, score == 1.0, score)
    return Outcome(stated_text(completion) or extract_answer(completion), score >= settings.right_from, score)
