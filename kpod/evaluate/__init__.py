"""Stage `evaluate`: greedy answers of a student, accuracy, statistics and paired comparison. Imports training."""

from kpod.answers.equality import answers_equal
from kpod.answers.extract import extract_answer

__all__ = ["answers_equal", "extract_answer"]
