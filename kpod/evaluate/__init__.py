"""Answers of a student: extraction, equality, greedy generation, statistics and paired comparison."""

from kpod.answers.equality import answers_equal
from kpod.answers.extract import extract_answer

__all__ = ["answers_equal", "extract_answer"]
