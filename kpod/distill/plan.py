"""The curriculum as training follows it: how many steps of each rationale are input at each stage."""

import json
from dataclasses import dataclass
from pathlib import Path

from kpod import schemas
from kpod.errors import DataError
from kpod.training.examples import Key


@dataclass(frozen=True)
class Plan:
    """`steps[key][stage]` is c_i(t); `difficulty[stage]` what the stage reached of D(t), None in a file without it."""

    steps: dict[Key, list[int]]
    difficulty: list[float] | None

    def input_steps(self, epoch: int, key: Key) -> int:
        return self.steps[key][epoch]


def read_plan(folder: Path, epochs: int) -> Plan:
    """Read `curriculum.parquet`; keys without a row at every stage below `epochs` are left out.

    Raises DataError if the file has fewer than `epochs` stages.
    """
    table = schemas.read(folder / "curriculum.parquet", schemas.CURRICULUM)
    by_stage: dict[Key, dict[int, int]] = {}
    for row in table.to_pylist():
        by_stage.setdefault((row["question_id"], row["sample"]), {})[row["stage"]] = row["input_steps"]
    stages = 1 + max((stage for found in by_stage.values() for stage in found), default=-1)
    if stages < epochs:
        raise DataError(f"curriculum.parquet has {stages} stages, distill.epochs is {epochs}: rerun curriculum")
    wanted = range(epochs)
    steps = {key: [found[t] for t in wanted] for key, found in by_stage.items() if all(t in found for t in wanted)}
    about = (table.schema.metadata or {}).get(b"stages")
    difficulty = [float(stage["reached"]) for stage in json.loads(about)] if about else None
    return Plan(steps, difficulty)
