"""The curriculum for training: the number of input steps of each rationale at each stage."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from kpod import schemas
from kpod.text.groups import Keys


@dataclass(frozen=True)
class Plan:
    """The curriculum of the rationales of a table of tokens."""

    input_steps: np.ndarray  # int16 or int32 [stages, rationales]: c_i(t)
    whole: np.ndarray  # bool [rationales]: whether all stages of a rationale are in the file
    difficulty: list[float] | None  # H(t) of each stage, if the file has it


def read_plan(folder: Path, keys: Keys) -> Plan:
    """Read `curriculum.parquet` for the rationales of `keys`. Raises DataError as `schemas.batches`."""
    path = folder / "curriculum.parquet"
    names = ("stage", "question_id", "sample", "input_steps")
    stages = most = 0
    for batch in schemas.batches(path, schemas.CURRICULUM, ("stage", "input_steps")):
        stages = max(stages, 1 + int(batch["stage"].to_numpy().max(initial=-1)))
        most = max(most, int(batch["input_steps"].to_numpy().max(initial=0)))
    matrix = np.full((stages, len(keys)), -1, dtype=np.int16 if most <= np.iinfo(np.int16).max else np.int32)
    for batch in schemas.batches(path, schemas.CURRICULUM, names):
        rows = keys.find(batch["question_id"], batch["sample"].to_numpy())
        known = rows >= 0
        matrix[batch["stage"].to_numpy()[known], rows[known]] = batch["input_steps"].to_numpy()[known]
    about = (pq.read_schema(path).metadata or {}).get(b"stages")
    difficulty = [float(stage["reached"]) for stage in json.loads(about)] if about else None
    whole = np.all(matrix >= 0, axis=0) if stages else np.zeros(len(keys), dtype=bool)
    return Plan(matrix, np.asarray(whole), difficulty)
