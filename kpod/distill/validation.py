"""Which epoch is kept: after each the student answers validation questions, and the best one stays (METHOD 7).

Accuracy is what is asked for in the end, and the loss on rationales does not tell it: a student goes on to learn its
training rationales by heart while its answers get worse.
"""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from kpod import observe
from kpod.answers.verify import check
from kpod.config import Validation
from kpod.distill import points
from kpod.distill.points import Point
from kpod.errors import DataError
from kpod.evaluate.generate import fitting, generate, longest_prompt
from kpod.evaluate.judge import judged
from kpod.store.files import atomic, write_text
from kpod.text.formats import COT, PromptFormat
from kpod.training.passes import Passes
from kpod.training.sharding import distribute_like, full_tensor, unsharded

Row = Mapping[str, Any]  # of schemas.QUESTIONS


def questions_of(table: pa.Table, count: int) -> list[Row]:
    """At most `count` questions of the split `validation`, of the sets that are trained on; by id, not by place.

    `table` is of schemas.QUESTIONS. Raises DataError if there is none.
    """
    trained = table.filter(pc.equal(table["split"], "train"))["dataset"].unique()
    watched = pc.and_(pc.equal(table["split"], "validation"), pc.is_in(table["dataset"], value_set=trained))
    found = table.filter(watched).to_pylist()
    if not found:
        raise DataError("distill.validation: no set that is trained on has questions of the split validation")
    return sorted(found, key=lambda row: (zlib.crc32(row["id"].encode()), row["id"]))[:count]


class Validator:
    """Evaluates the student of one training run after each epoch, and has the weights of its best epoch so far.

    What an earlier attempt at the same run found is taken up. A question too long for the student counts as wrong.
    """

    def __init__(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, settings: Validation, form: PromptFormat = COT
    ) -> None:
        self.rows, self.tokenizer, self.settings, self.form = rows, tokenizer, settings, form
        self.points: list[Point] = []

    def setup(self, folder: Path, passes: Passes) -> None:
        """Keep what is found in `folder`, which belongs to this run alone. Raises DataError if no question fits."""
        check(self.settings.verifier)
        self.folder, self.passes = folder, passes
        folder.mkdir(parents=True, exist_ok=True)
        self.points = points.read(folder / points.FILE)
        if self.points and not self._weights(points.best(self.points).epoch).exists():
            observe.warning("distill: the weights that validation had chosen are gone, so all epochs are asked again")
            self.points = []
        longest = longest_prompt(passes.model.config, self.settings.max_new_tokens)
        self.asked = fitting(self.rows, self.tokenizer, longest, self.form)
        if not self.asked:
            raise DataError(f"distill.validation: no question leaves the student {self.settings.max_new_tokens} tokens")
        if (too_long := len(self.rows) - len(self.asked)) and passes.ranks.writes:
            observe.warning(f"distill: {too_long} validation questions are too long for the student and count as wrong")

    def evaluate(self, epoch: int, tokens: int, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
        """Ask after an epoch and keep the weights if it is the best; returns figures to report. On all ranks."""
        found = next((point for point in self.points if point.epoch == epoch), None)  # of before a kill
        if found is None:
            ranks = self.passes.ranks
            right = torch.tensor(float(self._right(epoch)), device=self.passes.device)
            found = Point(epoch, tokens, int(ranks.total(right)), len(self.rows))
            self.points.append(found)
            self._keep(found, parameters)
        return {"validation_accuracy": found.accuracy}

    def restore_best(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Put the weights of the best epoch back. On all ranks."""
        self.passes.ranks.wait()  # for the first one to have written them
        kept = load_file(self._weights(points.best(self.points).epoch))
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(distribute_like(kept[name], value))

    def _right(self, epoch: int) -> int:
        """Right answers to this rank's part of the questions."""
        passes, ranks = self.passes, self.passes.ranks
        mine = self.asked[ranks.rank :: ranks.world]
        work = self.folder / f"epoch-{epoch}-rank-{ranks.rank}-of-{ranks.world}"
        shutil.rmtree(work, ignore_errors=True)  # of an attempt that was killed
        model, own = passes.model, passes.model.generation_config
        model.eval()
        try:
            with passes.autocast(), unsharded(model):
                told = generate(
                    model, self.tokenizer, [(row["id"], row["question"], row["choices"]) for row in mine],
                    self.settings.batch_size, self.settings.max_new_tokens, work, name="validate", form=self.form,
                )  # fmt: skip
        finally:
            model.train()
            model.generation_config = own
        shutil.rmtree(work)
        return sum(judged(row, told[row["id"]], self.settings.verifier, self.form.answer)["correct"] for row in mine)

    def _keep(self, found: Point, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Weights, then points, then away with what is not the best: a kill in between loses nothing."""
        best, writes = points.best(self.points), self.passes.ranks.writes
        weights = self._weights(best.epoch)
        if best == found:
            tensors = {}
            for name, value in parameters.items():
                whole = full_tensor(value.detach())
                if writes:
                    tensors[name] = whole.cpu().contiguous()
            if writes:
                with atomic(weights) as path:
                    save_file(tensors, path)
        if not writes:
            return
        write_text(self.folder / points.FILE, points.written(self.points))
        for file in self.folder.iterdir():
            if file.is_file() and file.name not in (weights.name, points.FILE):
                file.unlink()

    def _weights(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.safetensors"
