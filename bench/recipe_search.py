"""Which setting of KPOD wins in the small world: chosen on validation questions, then asked test questions once.

    python bench/recipe_search.py FOLDER --seeds 0,1,2,3,4 [--only NAME,NAME] [--split validation]
    python bench/recipe_search.py FOLDER --seeds 0,1,2,3,4 --only base,scotd-1,scotd --split test
    python bench/recipe_search.py --table

Every student of a seed starts from the same pretrained base and trains on the same questions for the same number of
target tokens (those of plain distillation in 8 epochs on one rationale a question); a seed draws questions, base,
weights and training anew. FOLDER keeps what was made: killed, it goes on there. Each answer, right or wrong, goes to
bench/results/recipe_search.jsonl; `--table` writes bench/results/recipe_search.md from it.
"""

import argparse
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stage_folders import computed

RESULT = Path(__file__).parent / "results" / "recipe_search.jsonl"
Table = dict[tuple[str, int], np.ndarray]  # (question id, sample) -> weights of a rationale's tokens, float32 [n]

# name -> method, settings on top of it, where the token weights come from
SETTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "scotd": ("scotd", {}, "none"),
    "scotd-1": ("scotd-1", {}, "none"),
    "floor 0.5, T 0.25": ("kpod", {}, "learned"),
    "kpod-paper": ("kpod-paper", {}, "learned"),
    "T 0.25 alone": ("kpod-wo-sig", {}, "none"),
    "floor 0.5 alone": ("kpod-wo-prog", {}, "learned"),
    "floor 0.5, T 0.1": ("kpod", {"curriculum.T": 0.1}, "learned"),
    "oracle, floor 0.5 alone": ("kpod-wo-prog", {}, "oracle"),
    "uncertainty, floor 0.5 alone": ("kpod-wo-prog", {}, "uncertainty"),
    "excess loss, floor 0.5 alone": ("kpod-wo-prog", {}, "excess"),
    "pruned": ("kpod-wo-prog", {"distill.keypoints": 0.2, "distill.weight_floor": 1.0}, "learned"),
    "pruned, floor 0.5": ("kpod-wo-prog", {"distill.keypoints": 0.2}, "learned"),
    "pruned, alpha 0.3, floor 0.5": ("kpod-wo-prog", {"distill.keypoints": 0.2, "weights.alpha": 0.3}, "learned"),
    "pruned, floor 0.5, T 0.25": ("kpod", {"distill.keypoints": 0.2}, "learned"),
    "pruned, floor 0.5, T by validation": ("kpod", {"distill.keypoints": 0.2, "curriculum.T": 0.5}, "learned"),
    "pruned by oracle, floor 0.5": ("kpod-wo-prog", {"distill.keypoints": 0.2}, "oracle"),
    "rule, floor 0.5 alone": ("kpod-wo-prog", {}, "rule"),
    "pruned by rule, floor 0.5": ("kpod-wo-prog", {"distill.keypoints": 0.2}, "rule"),
    "three of six, easiest": ("scotd", {}, "none"),
    "three of six, different and easy": ("scotd", {}, "none"),
}


class World:
    """The stages of one seed, each run once for the same inputs and settings."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder / f"seed-{seed}", seed
        self.folder.mkdir(parents=True, exist_ok=True)

    def config(self, name: str, split: str) -> Any:
        from kpod.config.settings import load
        from kpod.config.variants import apply

        method, changes, _ = SETTINGS[name]
        seeds = ["questions.sources.0", "student", "weights", "curriculum", "distill"]
        tree = {f"{key}.seed": self.seed for key in seeds}
        tree |= {"questions.sources.0.validation": 800, "questions.sources.0.harder": 0, "teacher.samples": 6}
        tree |= {"questions.sources.0.longer_by": "steps", "questions.sources.0.longer_steps": 5}
        tree |= {"distill.weight_floor": 0.5, "distill.keypoints": 0.0, "curriculum.T": 0.25}
        tree |= {"methods": [method], "evaluate.splits": [split]}
        tree |= changes
        return apply(load("demo", [f"{key}={json.dumps(value)}" for key, value in tree.items()]), method)

    def stage(self, name: str, config: Any, inputs: Mapping[str, Path]) -> Path:
        """The folder of a stage's result, computed unless it is there; CPU seconds in its `figures.json`.

        `inputs` are folders of earlier stages; those that the stage reads are taken.
        """
        from kpod.run.stages import STAGES
        from kpod.store.keys import identity

        settings = STAGES[name].config(config)
        inputs = {key: inputs[key] for key in STAGES[name].needs(config)}
        told = json.dumps([identity(settings), {key: path.name for key, path in inputs.items()}], sort_keys=True)
        out = self.folder / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
        os.environ["KPOD_HOME"] = str(self.folder / "home")
        computed(name, settings, inputs, out, out / "figures.json")
        return out

    def weights(self, source: str, config: Any, made: Mapping[str, Path]) -> Path:
        """Weights of the stage, or the same table with the values of another source."""
        learned = self.stage("weights", config, made)
        if source == "learned":
            return learned
        out = self.folder / f"weights-{source}-{learned.name[-12:]}"
        if not (out / "weights.parquet").is_file():
            from kpod import schemas

            out.mkdir(exist_ok=True)
            table = schemas.read(learned / "weights.parquet", schemas.WEIGHTS)
            found = SOURCES[source](self, table, made, config)
            keys = zip(table["question_id"].to_pylist(), table["sample"].to_pylist(), strict=True)
            values = [found[key].tolist() for key in keys]
            schemas.write(out / "weights.parquet", replaced(table, "weight", values))
        return out

    def chosen(self, name: str, made: Mapping[str, Path]) -> Path:
        """The rationales, of which only those that a rule chooses are kept, three a question."""
        out = self.folder / f"rationales-{name.replace(', ', '-').replace(' ', '-')}-{made['tokens'].name[-12:]}"
        if not (out / "rationales.parquet").is_file():
            from kpod import schemas

            out.mkdir(exist_ok=True)
            table = schemas.read(made["rationales"] / "rationales.parquet", schemas.RATIONALES)
            texts = words(table)
            # MoRSD (arXiv 2509.23574) calls the loss of the answer, given the rationale, the rationale's difficulty.
            loss = {key: float(answer.mean()) for key, (_, answer) in losses(made, made["base"]).items()}
            samples: dict[str, list[int]] = {}
            for question, sample in loss:
                samples.setdefault(question, []).append(sample)
            kept = {
                (question, sample)
                for question, those in samples.items()
                for sample in CHOICES[name](
                    sorted(those), {s: texts[question, s] for s in those}, {s: loss[question, s] for s in those}
                )
            }
            keys = zip(table["question_id"].to_pylist(), table["sample"].to_pylist(), strict=True)
            flags = [key in kept for key in keys]
            schemas.write(out / "rationales.parquet", replaced(table, "kept", flags))
        return out

    def before(self, name: str, split: str) -> tuple[Any, dict[str, Path]]:
        """The configuration of one setting, and the folders of all stages before its distillation."""
        config = self.config(name, split)
        made: dict[str, Path] = {}
        for stage in ("questions", "rationales", "steps", "base", "tokens"):
            made[stage] = self.stage(stage, config, made)
        if name in CHOICES:
            made["rationales"] = self.chosen(name, made)
            for stage in ("steps", "tokens"):
                made[stage] = self.stage(stage, config, made)
        if SETTINGS[name][2] != "none" or config.distill.progressive:
            made["weights"] = self.weights(SETTINGS[name][2].replace("none", "learned"), config, made)
        for stage in ("difficulty", "curriculum") if config.distill.progressive else ():
            made[stage] = self.stage(stage, config, made)
        if name.endswith("T by validation"):
            made["curriculum"] = self.ended(config, made)
        return config, made

    def ended(self, config: Any, made: Mapping[str, Path]) -> Path:
        """The curriculum without given steps after the first epoch that brings no more right validation answers.

        A student is trained with the whole curriculum and asked 200 questions after each epoch; up to that epoch it is
        the one that training with the shorter curriculum gives.
        """
        from kpod import schemas
        from kpod.config import Validation
        from kpod.distill import points

        asked = Validation(questions=200, max_new_tokens=config.evaluate.max_new_tokens, batch_size=200)
        changed = config.distill.model_copy(update={"validation": asked})
        watched = self.stage("distill", config.model_copy(update={"distill": changed}), made)
        validated = points.read(watched / points.FILE)
        last = next((b.epoch for a, b in itertools.pairwise(validated) if b.right <= a.right), len(validated))
        out = self.folder / f"curriculum-ended-{watched.name[-12:]}"
        if not (out / "curriculum.parquet").is_file():
            out.mkdir(exist_ok=True)
            table = schemas.read(made["curriculum"] / "curriculum.parquet", schemas.CURRICULUM)
            given = np.where(table["stage"].to_numpy() > last, 0, table["input_steps"].to_numpy())
            schemas.write(out / "curriculum.parquet", replaced(table, "input_steps", given))
        print(self.seed, "right after each epoch:", [point.right for point in validated], "whole after", last)
        return out

    def student(self, name: str, split: str) -> tuple[Path, Any, dict[str, Path]]:
        """The distilled student's folder of one setting."""
        config, made = self.before(name, split)
        made["distill"] = self.stage("distill", config, made)
        return made["distill"], config, made

    def predictions(self, name: str, split: str) -> tuple[list[dict[str, Any]], dict[str, Path], dict[str, Any]]:
        """Rows of schemas.PREDICTIONS by question, the folders of the stages before, and what the student cost."""
        from kpod import schemas

        if name == "base":
            config = self.config("scotd", split)
            made = {"questions": self.stage("questions", config, {}), "base": self.stage("base", config, {})}
            student, spent = made["base"], {}
        else:
            student, config, made = self.student(name, split)
            spent = json.loads((student / "figures.json").read_text())
        asked = self.stage("evaluate", config, {"questions": made["questions"], "student": student})
        told = schemas.read(asked / "predictions.parquet", schemas.PREDICTIONS)
        return told.sort_by("question_id").to_pylist(), made, spent

    def answers(self, name: str, split: str) -> dict[str, Any]:
        """Right or wrong for each question, by set, and what the student cost."""
        told, _, spent = self.predictions(name, split)
        right: dict[str, list[int]] = {}
        for row in told:
            right.setdefault(row["dataset"], []).append(int(row["correct"]))
        figures = {key: spent.get(key) for key in ("target_tokens", "cpu_seconds", "wall_seconds")}
        return {"name": name, "seed": self.seed, "split": split, **figures, "right": right}


def replaced(table: pa.Table, column: str, values: Any) -> pa.Table:
    """The table with other values in a column, of the same type."""
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))


def _pieces(world: World, table: pa.Table, made: Mapping[str, Path]) -> dict[tuple[str, int], list[str]]:
    """The characters of every token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made["base"] / "student")
    rows = table.select(["question_id", "sample", "token_ids"]).to_pylist()
    known: dict[int, str] = {}
    for row in rows:
        for token in row["token_ids"]:
            if token not in known:
                known[token] = tokenizer.decode([token])
    return {(row["question_id"], row["sample"]): [known[token] for token in row["token_ids"]] for row in rows}


def oracle(world: World, table: pa.Table, made: Mapping[str, Path], config: Any) -> Table:
    """1 for the numbers and signs of equations, 0 for all else: what the script of the teacher tells."""
    signs = set("+-x/=")
    return {
        key: np.array([float(piece.strip().isdigit() or piece.strip() in signs) for piece in pieces], np.float32)
        for key, pieces in _pieces(world, table, made).items()
    }


def rule(world: World, table: pa.Table, made: Mapping[str, Path], config: Any) -> Table:
    """The classes of tokens that `weights.source: rule` goes by."""
    changed = config.model_copy(update={"weights": config.weights.model_copy(update={"source": "rule"})})
    from kpod import schemas

    folder = world.stage("weights", changed, made)
    rows = schemas.read(folder / "weights.parquet", schemas.WEIGHTS).to_pylist()
    return {(row["question_id"], row["sample"]): np.asarray(row["weight"], np.float32) for row in rows}


def losses(made: Mapping[str, Path], student: Path) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Negative log-likelihood of every token of each rationale and of its answer under a student, float32."""
    import torch

    from kpod.text.table import Tokens
    from kpod.training import models

    model, _ = models.load(student / "student", "fp32")
    tokens = Tokens.read(made["tokens"])
    columns = (tokens.prompt, tokens.rationale, tokens.answer)
    order = np.argsort(tokens.rationale.size, kind="stable")
    values: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    with torch.no_grad():
        for start in range(0, len(order), 64):
            some = order[start : start + 64]
            parts = [[torch.from_numpy(column[row].astype(np.int64)) for column in columns] for row in some]
            ids = torch.nn.utils.rnn.pad_sequence([torch.cat(part) for part in parts], batch_first=True)
            scores = model(input_ids=ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
            for row, (prompt, rationale, answer), score in zip(some, parts, scores, strict=True):
                targets = -score[len(prompt) - 1 :].numpy()[: len(rationale) + len(answer)]
                values[tokens.keys[row]] = targets[: len(rationale)], targets[len(rationale) :]
    return values


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of the values in their rationale, from 0 to 1."""
    return (values.argsort().argsort() / max(len(values) - 1, 1)).astype(np.float32)


def uncertainty(world: World, table: pa.Table, made: Mapping[str, Path], config: Any) -> Table:
    """Tokens by the loss of the student before distillation, the hardest 1."""
    return {key: _ranks(loss) for key, (loss, _) in losses(made, made["base"]).items()}


def excess(world: World, table: pa.Table, made: Mapping[str, Path], config: Any) -> Table:
    """Tokens by how much distillation lowers their loss (excess loss, Lin et al., 2024: Rho-1); the most 1."""
    after, _, _ = world.student("scotd", "validation")
    base, reference = losses(made, made["base"]), losses(made, after)
    return {key: _ranks(base[key][0] - reference[key][0]) for key in base}


SOURCES: dict[str, Callable[[World, pa.Table, Mapping[str, Path], Any], Table]] = {
    "oracle": oracle,
    "rule": rule,
    "uncertainty": uncertainty,
    "excess": excess,
}


def words(table: pa.Table) -> dict[tuple[str, int], set[tuple[str, str]]]:
    """The pairs of neighbouring words of each rationale."""
    rows = table.select(["question_id", "sample", "rationale"]).to_pylist()
    told = {(row["question_id"], row["sample"]): row["rationale"].split() for row in rows}
    return {key: set(itertools.pairwise(those)) for key, those in told.items()}


Choice = Callable[[list[int], Mapping[int, set[tuple[str, str]]], Mapping[int, float]], list[int]]


def easiest(samples: list[int], texts: Mapping[int, set[tuple[str, str]]], loss: Mapping[int, float]) -> list[int]:
    return sorted(samples, key=lambda sample: loss[sample])[:3]


def most_different(samples: list[int], texts: Mapping[int, set[tuple[str, str]]]) -> list[int]:
    """One after the other the rationale that shares the least with those chosen; the first sample is the first."""
    chosen = samples[:1]
    while len(chosen) < min(3, len(samples)):
        left = [sample for sample in samples if sample not in chosen]
        chosen.append(min(left, key=lambda sample: max(_alike(texts[sample], texts[other]) for other in chosen)))
    return chosen


def different_and_easy(
    samples: list[int], texts: Mapping[int, set[tuple[str, str]]], loss: Mapping[int, float]
) -> list[int]:
    """The easier four of six, and of them the three most different, from the easiest on."""
    return most_different(sorted(samples, key=lambda sample: loss[sample])[:4], texts)


def _alike(some: set[tuple[str, str]], other: set[tuple[str, str]]) -> float:
    """Share of word pairs that both have (Jaccard)."""
    return len(some & other) / max(len(some | other), 1)


CHOICES: dict[str, Choice] = {
    "three of six, easiest": easiest,
    "three of six, different and easy": different_and_easy,
}


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULT.read_text().splitlines()] if RESULT.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default=",".join(["base", *SETTINGS]).replace(", ", "; "))
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        from recipe_search_table import write

        write(recorded())
        return
    worlds = [World(options.folder, int(seed)) for seed in options.seeds.split(",")]
    for name in (one.replace("; ", ", ") for one in options.only.split(",")):
        for world in worlds:
            seed = world.seed
            if any((r["name"], r["seed"], r["split"]) == (name, seed, options.split) for r in recorded()):
                continue
            row = world.answers(name, options.split)
            with RESULT.open("a") as file:
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
            shares = {key: round(100 * float(np.mean(value)), 1) for key, value in row["right"].items()}
            print(seed, name, shares, row["target_tokens"], row["cpu_seconds"], flush=True)


if __name__ == "__main__":
    main()
