"""The command line, a file a theme. Imports everything, inside the commands, so that `--help` answers at once."""

from kpod.cli.app import main

__all__ = ["main"]
