"""Stages outside a pipeline, each computed once into a folder; for recipe_search.py and demo_world.py."""

import json
import shutil
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def computed(name: str, settings: Any, inputs: Mapping[str, Path], folder: Path, note: Path) -> dict[str, float]:
    """Run the stage `name` into `folder` unless the file `note` has its figures; returns them, with its seconds."""
    from kpod.run.stages import STAGES

    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        cpu, wall = time.process_time(), time.monotonic()
        figures = import_module(STAGES[name].module).run(inputs, settings, folder)
        spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.monotonic() - wall}
        shutil.rmtree(folder / "work", ignore_errors=True)
        note.write_text(json.dumps({**figures, **spent}))
    return dict(json.loads(note.read_text()))
