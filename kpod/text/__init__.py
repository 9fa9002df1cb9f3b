"""Texts as the student sees them: prompts, tokens and their offsets; cleaning of texts for display. Imports schemas."""
