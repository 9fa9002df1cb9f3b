"""Answers of a student: extraction, equality, greedy generation, statistics and paired comparison."""

from kpod.answers.extract import answers_equal, extract_answer

__all__ = ["answers_equal", "extract_answer"]
