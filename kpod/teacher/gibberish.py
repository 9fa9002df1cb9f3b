"""Spots texts that fell apart."""


def gibberish(text: str) -> bool:
    """Whether the text is no language."""
    return False
