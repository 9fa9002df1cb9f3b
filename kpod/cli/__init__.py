"""The command line, a file a theme. Imports everything, but inside the commands, so that `--help` is fast."""

from kpod.cli.app import main

__all__ = ["main"]
