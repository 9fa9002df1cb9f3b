"""The curriculum as training follows it: how many steps of each rationale are input at each stage."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpod import schemas
from kpod.text.groups import Groups
from kpod.training.examples import Key


@dataclass(frozen=True)
class Plan:
    """`steps[key]` is c_i(t), int32 [stages]; `difficulty[stage]` what the stage reached of D(t), if the file tells."""

    steps: dict[Key, np.ndarray]
    difficulty: list[float] | None


def read_plan(folder: Path) -> Plan:
    """Read `curriculum.parquet`; keys that lack a stage are left out."""
    table = schemas.read(folder / "curriculum.parquet", schemas.CURRICULUM)
    groups, stage = Groups(table), table["stage"].to_numpy()
    stages = int(stage.max(initial=-1)) + 1
    order, counts = groups.sorted_by(stage), np.diff(groups.begin)
    found = np.flatnonzero(counts == stages)
    chosen = order[np.repeat(counts == stages, counts)].reshape(-1, stages)
    whole = (stage[chosen] == np.arange(stages)).all(axis=1)
    keys = [groups.keys[group] for group in found[whole].tolist()]
    steps = dict(zip(keys, table["input_steps"].to_numpy()[chosen[whole]], strict=True))
    about = (table.schema.metadata or {}).get(b"stages")
    difficulty = [float(stage["reached"]) for stage in json.loads(about)] if about else None
    return Plan(steps, difficulty)
