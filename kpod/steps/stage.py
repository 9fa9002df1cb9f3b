"""Stage `steps`: `rationales.parquet` in, `steps.parquet` out."""

from collections.abc import Mapping
from pathlib import Path

from kpod import observe, schemas
from kpod.config import Steps
from kpod.errors import DataError
from kpod.steps.cutting import merged, spans, split


def run(inputs: Mapping[str, Path], config: Steps, out_dir: Path) -> dict[str, float]:
    """Cut every kept rationale: `rationales/rationales.parquet` -> `steps.parquet` (schemas.STEPS).

    A rationale without a step, or one whose key came before, is quarantined. Raises DataError if none is left.
    """
    found = schemas.read(inputs["rationales"] / "rationales.parquet", schemas.RATIONALES)
    kept = found.select(["question_id", "sample", "rationale", "kept"]).to_pylist()
    kept = [row for row in kept if row["kept"]]
    order = {question: i for i, question in enumerate(dict.fromkeys(row["question_id"] for row in kept))}
    kept.sort(key=lambda row: (order[row["question_id"]], row["sample"]))

    columns: dict[str, list] = {name: [] for name in schemas.STEPS.names}
    quarantined: list[dict[str, str]] = []
    counts: list[int] = []
    seen: set[tuple[str, int]] = set()
    with observe.progress("steps", len(kept), "rationale") as bar:
        for row in kept:
            bar.advance()
            key = (row["question_id"], row["sample"])
            reason = "the rationale is empty" if not row["rationale"].strip() else None
            if reason or key in seen:
                name = f"{key[0]}/{key[1]}"
                quarantined.append({"source": "rationales", "row": name, "reason": reason or "the key came before"})
                continue
            seen.add(key)
            parts = split(row["rationale"], config.rule)
            if config.max_steps is not None:
                parts = merged(parts, config.max_steps)
            places = spans(parts)
            counts.append(len(parts))
            columns["question_id"] += [key[0]] * len(parts)
            columns["sample"] += [key[1]] * len(parts)
            columns["step"] += range(len(parts))
            columns["text"] += parts
            columns["char_start"] += places[:, 0].tolist()
            columns["char_end"] += places[:, 1].tolist()
    if quarantined:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(quarantined, schemas.QUARANTINE))
    if not counts:
        raise DataError("steps: no kept rationale has a step: look at drop_reason in rationales.parquet")
    schemas.write(out_dir / "steps.parquet", schemas.table(columns, schemas.STEPS))
    return {
        "rationales": len(counts),
        "steps": sum(counts),
        "steps_mean": sum(counts) / len(counts),
        "steps_max": max(counts),
        "single_step_share": counts.count(1) / len(counts),
        "quarantined": len(quarantined),
    }
