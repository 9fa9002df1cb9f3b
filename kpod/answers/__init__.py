"""Extraction of the answer from a text, comparison of answers, removal of the closing statement. Imports text."""
