"""Texts as the student sees them: prompts, tokens and their offsets; texts made fit to be shown. Imports schemas."""
