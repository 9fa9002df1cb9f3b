"""Sweeps: methods x seeds x datasets x students, compared on the same questions."""
