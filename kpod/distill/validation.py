"""Which epoch is kept: after each the student answers validation questions, and the best one stays (METHOD 7).

Accuracy is what is asked for in the end, and the loss on rationales does not tell it: a student goes on to learn its
training rationales by heart while its answers get worse.
"""

import json
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from kpod.config import Validation
from kpod.distill.passes import Passes
from kpod.errors import DataError
from kpod.evaluate.generate import generate, longest_prompt
from kpod.evaluate.judge import judged
from kpod.files import atomic, write_text
from kpod.sequences import prompt_ids

Row = Mapping[str, Any]  # of schemas.QUESTIONS
POINTS = "points.json"


def questions_of(table: Sequence[Row], count: int) -> list[Row]:
    """At most `count` questions of the split `validation`, of the sets that are trained on; by id, not by place.

    Raises DataError if there is none.
    """
    trained = {row["dataset"] for row in table if row["split"] == "train"}
    found = [row for row in table if row["split"] == "validation" and row["dataset"] in trained]
    if not found:
        raise DataError("distill.validation: no set that is trained on has questions of the split validation")
    return sorted(found, key=lambda row: (zlib.crc32(row["id"].encode()), row["id"]))[:count]


class Watch:
    """The validation of one training run, with the weights of its best epoch so far.

    `points`: one dict an epoch with `epoch`, `tokens` (target tokens trained on until then), `right` and `questions`.
    What an earlier attempt at the same run found is taken up.
    """

    def __init__(self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, settings: Validation) -> None:
        self.rows, self.tokenizer, self.settings = rows, tokenizer, settings
        self.points: list[dict[str, int]] = []

    def start(self, folder: Path, passes: Passes) -> None:
        """Keep what is found in `folder`, which belongs to this run alone."""
        self.folder, self.passes = folder, passes
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / POINTS).exists():
            self.points = json.loads((folder / POINTS).read_text(encoding="utf-8"))
        longest = longest_prompt(passes.model.config, self.settings.max_new_tokens)
        self.asked = [
            row
            for row in self.rows
            if longest is None or len(prompt_ids(self.tokenizer, row["question"], row["choices"])) <= longest
        ]

    @property
    def best(self) -> dict[str, int]:
        """The point with most right answers, of equals the last: it has seen more."""
        return max(self.points, key=lambda point: (point["right"], point["epoch"]))

    def after(self, epoch: int, tokens: int, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
        """Ask after an epoch and keep the weights if it is the best; returns figures to report. On all ranks."""
        if all(point["epoch"] != epoch for point in self.points):  # else asked before a kill
            ranks = self.passes.ranks
            right = torch.tensor(float(self._right(epoch)), device=self.passes.device)
            point = {"epoch": epoch, "tokens": tokens, "right": int(ranks.total(right)), "questions": len(self.asked)}
            self.points.append(point)
            if ranks.writes:
                if self.best["epoch"] == epoch:
                    self._keep(epoch, parameters)
                write_text(self.folder / POINTS, json.dumps(self.points))
        found = next(point for point in self.points if point["epoch"] == epoch)
        return {"validation_accuracy": found["right"] / max(1, found["questions"])}

    def take_best(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Put the weights of the best epoch back, on the rank that writes the student."""
        if self.passes.ranks.writes:
            kept = load_file(self._weights(self.best["epoch"]))
            with torch.no_grad():
                for name, value in parameters.items():
                    value.copy_(kept[name])

    def _right(self, epoch: int) -> int:
        """Right answers to this rank's part of the questions."""
        passes, ranks = self.passes, self.passes.ranks
        mine = self.asked[ranks.rank :: ranks.world]
        work = self.folder / f"epoch-{epoch}-rank-{ranks.rank}-of-{ranks.world}"
        model, own = passes.model, passes.model.generation_config
        model.eval()
        try:
            with passes.autocast():
                told = generate(
                    model, self.tokenizer, [(row["id"], row["question"], row["choices"]) for row in mine],
                    self.settings.batch_size, self.settings.max_new_tokens, work, name="validate",
                )  # fmt: skip
        finally:
            model.train()
            model.generation_config = own
        shutil.rmtree(work)
        return sum(judged(row, told[row["id"]])["correct"] for row in mine)

    def _keep(self, epoch: int, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        with atomic(self._weights(epoch)) as path:
            save_file({name: value.detach().cpu().contiguous() for name, value in parameters.items()}, path)
        for older in self.folder.glob("*.safetensors"):
            if older != self._weights(epoch):
                older.unlink()

    def _weights(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.safetensors"
