"""The curriculum as training follows it: how many steps of each rationale are input at each stage."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpod import schemas
from kpod.training.examples import Key


@dataclass(frozen=True)
class Plan:
    """`steps[key]` is c_i(t), int32 [stages]; `difficulty[stage]` what the stage reached of D(t), if the file tells."""

    steps: dict[Key, np.ndarray]
    difficulty: list[float] | None


def read_plan(folder: Path) -> Plan:
    """Read `curriculum.parquet`; keys that lack a stage are left out."""
    table = schemas.read(folder / "curriculum.parquet", schemas.CURRICULUM)
    by_stage: dict[Key, dict[int, int]] = {}
    for row in table.to_pylist():
        by_stage.setdefault((row["question_id"], row["sample"]), {})[row["stage"]] = row["input_steps"]
    stages = range(1 + max((stage for found in by_stage.values() for stage in found), default=-1))
    steps = {
        key: np.array([found[t] for t in stages], dtype=np.int32)
        for key, found in by_stage.items()
        if len(found) == len(stages)
    }
    about = (table.schema.metadata or {}).get(b"stages")
    difficulty = [float(stage["reached"]) for stage in json.loads(about)] if about else None
    return Plan(steps, difficulty)
