"""Validation after each epoch, and the choice of the best one by accuracy.

The loss on rationales does not predict accuracy: a student can memorise its training rationales while its answers get
worse.
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
from kpod.evaluate.judge import examine
from kpod.store.files import atomic, write_text
from kpod.text.formats import COT, PromptFormat
from kpod.training.passes import Passes
from kpod.training.sharding import distribute_like, full_tensor, unsharded

Row = Mapping[str, Any]  # of schemas.QUESTIONS


def questions_of(table: pa.Table, count: int) -> list[Row]:
    """At most `count` questions of the split `validation` of the sets that are trained on, chosen by a hash of the id.

    `table` is of schemas.QUESTIONS. Raises DataError if there is none.
    """
    trained = table.filter(pc.equal(table["split"], "train"))["dataset"].unique()
    watched = pc.and_(pc.equal(table["split"], "validation"), pc.is_in(table["dataset"], value_set=trained))
    rows = table.filter(watched).to_pylist()
    if not rows:
        raise DataError("distill.validation: no set that is trained on has questions of the split validation")
    return sorted(rows, key=lambda row: (zlib.crc32(row["id"].encode()), row["id"]))[:count]


class Validator:
    """Evaluates the student of one training run after each epoch, and keeps the weights of the best epoch so far.

    The results of an earlier attempt at the same run are used. A question too long for the student counts as wrong.
    """

    def __init__(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, settings: Validation, form: PromptFormat = COT
    ) -> None:
        self.rows, self.tokenizer, self.settings, self.form = rows, tokenizer, settings, form
        self.points: list[Point] = []

    def setup(self, folder: Path, passes: Passes) -> None:
        """Read the results in `folder`, which belongs to this run only. Raises DataError if all questions are too long.

        Raises ConfigError if the verifier cannot be started.
        """
        check(self.settings.verifier)
        self.folder, self.passes = folder, passes
        folder.mkdir(parents=True, exist_ok=True)
        self.points = points.read(folder / points.FILE)
        if self.points and not self._weights(points.best(self.points).epoch).exists():
            observe.warning("distill: the weights that validation had chosen are gone, so all epochs are asked again")
            self.points = []
        longest = longest_prompt(passes.model.config, self.settings.max_new_tokens)
        self.questions = fitting(self.rows, self.tokenizer, longest, self.form)
        if not self.questions:
            raise DataError(f"distill.validation: no question leaves the student {self.settings.max_new_tokens} tokens")
        if (too_long := len(self.rows) - len(self.questions)) and passes.ranks.writes:
            observe.warning(f"distill: {too_long} validation questions are too long for the student and count as wrong")

    def evaluate(self, epoch: int, tokens: int, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
        """Ask the questions after an epoch, and keep the weights if it is the best one; all ranks call this together.

        `tokens`: target tokens trained on so far. Returns metrics to report.
        """
        point = next((point for point in self.points if point.epoch == epoch), None)  # of an earlier attempt
        if point is None:
            ranks = self.passes.ranks
            right = torch.tensor(float(self._right(epoch)), device=self.passes.device)
            point = Point(epoch, tokens, int(ranks.total(right)), len(self.rows))
            self.points.append(point)
            self._keep(point, parameters)
        return {"validation_accuracy": point.accuracy}

    def restore_best(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Copy the weights of the best epoch into `parameters`; all ranks call this together."""
        self.passes.ranks.wait()  # until rank 0 has written them
        kept = load_file(self._weights(points.best(self.points).epoch))
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(distribute_like(kept[name], value))

    def _right(self, epoch: int) -> int:
        """Right answers to this rank's part of the questions."""
        passes, ranks = self.passes, self.passes.ranks
        part = self.questions[ranks.rank :: ranks.world]
        work = self.folder / f"epoch-{epoch}-rank-{ranks.rank}-of-{ranks.world}"
        shutil.rmtree(work, ignore_errors=True)  # of an attempt that was killed
        model, own = passes.model, passes.model.generation_config
        model.eval()
        try:
            with passes.autocast(), unsharded(model):
                completions = generate(
                    model, self.tokenizer, [(row["id"], row["question"], row["choices"]) for row in part],
                    self.settings.batch_size, self.settings.max_new_tokens, work, name="validate", form=self.form,
                )  # fmt: skip
        finally:
            model.train()
            model.generation_config = own
        shutil.rmtree(work)
        verifier, form = self.settings.verifier, self.form.answer
        return sum(examine(row, completions[row["id"]], verifier, form).correct for row in part)

    def _keep(self, point: Point, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Write the weights if they are the best, then the points, then remove older weights: safe against kills."""
        best, writes = points.best(self.points), self.passes.ranks.writes
        weights = self._weights(best.epoch)
        if best == point:
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
