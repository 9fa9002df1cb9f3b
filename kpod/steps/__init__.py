"""Stage `steps`: rationales cut into steps that tile them. Imports config and below."""

from kpod.steps.cutting import split

__all__ = ["split"]
