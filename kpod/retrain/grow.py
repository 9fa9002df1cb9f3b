"""Stage `dataset`: new training questions, checked and deduplicated, added to the previous version."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from kpod import schemas
from kpod.answers.equality import answers_equal
from kpod.config.retrain import Contract
from kpod.errors import DataError
from kpod.fields import Strict
from kpod.observe import warning
from kpod.questions.raw import BadRow, Raw, kind_of, question_row
from kpod.questions.rows import read
from kpod.retrain.contract import violation
from kpod.retrain.duplicates import Index, words
from kpod.store.files import sha256_file, write_text

Row = dict[str, Any]
MAX_REJECTED = 0.5  # a file of which a larger share breaks the contract is quarantined as a whole
MAX_ROWS = 100_000  # of a file


class Growth(Strict):
    """Inputs and rules of the next dataset version."""

    files: list[Path] = Field(description="Files of new questions.")
    protected: list[Path] = Field(default_factory=list, description="Evaluation sets besides those of the pipeline.")
    contract: Contract = Contract()
    near: float = 0.8


def run(inputs: Mapping[str, Path], config: Growth, out_dir: Path) -> dict[str, float]:
    """`questions` and, from the second version on, `previous` -> questions.parquet (schemas.QUESTIONS, split train).

    Also writes manifest.json (version, digests of all files of it) and quarantine.parquet. A new row is quarantined if
    it is unusable, breaks the contract, has the id of another question, or is a duplicate or near duplicate of a
    question of any evaluation set, of a known or of an earlier new one. So is a whole file that cannot be read, or of
    which more than MAX_REJECTED breaks the contract.
    """
    base = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS).to_pylist()
    prior, manifest = _previous(inputs.get("previous"))
    checks = _RowChecks(base, prior, config)
    accepted: list[Row] = []
    for path in config.files:
        accepted += checks.accept_file(path)
    for path in config.files:
        manifest["files"][sha256_file(path)] = path.name
    manifest["version"] += 1
    if checks.quarantine:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(checks.quarantine, schemas.QUARANTINE))
        common = Counter(row["reason"] for row in checks.quarantine).most_common(3)
        reasons = ", ".join(f"{reason} ({count})" for reason, count in common)
        warning(f"{len(checks.quarantine)} new rows are set aside in quarantine.parquet: {reasons}")
    schemas.write(out_dir / "questions.parquet", schemas.table(prior + accepted, schemas.QUESTIONS))
    write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True))
    return {
        "version": manifest["version"],
        "accepted": len(accepted),
        "questions": len(prior) + len(accepted),
        "quarantined": len(checks.quarantine),
        "files": len(config.files),
    }


def file_digests(folder: Path | None) -> set[str]:
    """Digests (sha256) of the files of a version; empty for None."""
    return set(_previous(folder)[1]["files"])


def _previous(folder: Path | None) -> tuple[list[Row], dict[str, Any]]:
    if folder is None:
        return [], {"version": 0, "files": {}}
    rows = schemas.read(folder / "questions.parquet", schemas.QUESTIONS).to_pylist()
    return rows, json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


class _RowChecks:
    """Accepts new rows that fulfil the contract; the others are added to `quarantine` with the reason."""

    def __init__(self, base: Sequence[Row], prior: Sequence[Row], config: Growth) -> None:
        self.quarantine: list[dict[str, str]] = []
        self._config = config
        trained = [row for row in base if row["split"] == "train"] + list(prior)
        evaluated = [row for row in base if row["split"] != "train"]
        self._kinds = config.contract.kinds or {kind_of(row) for row in trained} or {"options", "numbers", "texts"}
        self._evaluated = Index(
            [(f"{row['dataset']}/{row['split']} {row['id']}", _words(row)) for row in evaluated]
            + [(path.name, _words(row)) for path in config.protected for row in _usable(path)],
            config.near,
        )
        self._known = Index([(row["id"], _words(row)) for row in trained], config.near)
        self._rows = {row["id"]: row for row in [*base, *prior]}

    def accept_file(self, path: Path) -> list[Row]:
        """The accepted rows of a file."""
        contract = self._config.contract
        try:
            raws = [Raw("incoming", "train", row) for _, row in read(path, int(contract.max_mb * 1e6))]
            if len(raws) > MAX_ROWS:
                raise DataError(f"{path.name} has {len(raws)} rows, more than {MAX_ROWS}")
        except DataError as error:
            self._reject(path, "", str(error))
            return []
        valid: list[tuple[Raw, Row]] = []
        violations = 0
        for raw in raws:
            try:
                row = question_row(raw)
                reason = violation(row, contract, self._kinds)
            except BadRow as bad:
                reason = str(bad)
            if reason:
                violations += 1
                self._reject(path, raw.shown, reason)
            else:
                valid.append((raw, row))
        if violations > MAX_REJECTED * len(raws):
            for raw, _ in valid:
                self._reject(path, raw.shown, f"{violations} of the file's {len(raws)} rows break the contract")
            return []
        return [row for raw, row in valid if self._is_new(path, raw, row)]

    def _is_new(self, path: Path, raw: Raw, row: Row) -> bool:
        normal = _words(row)
        reason = self._duplicate(row, normal)
        if reason:
            self._reject(path, raw.shown, reason)
            return False
        self._known.add(row["id"], normal)
        self._rows[row["id"]] = row
        return True

    def _duplicate(self, row: Row, normal: tuple[str, ...]) -> str | None:
        """The reason why the row is not new, or None; duplicates of evaluation questions are reported first."""
        if (name := self._evaluated.exact(normal)) is not None:
            return f"is also in the evaluation set ({name})"
        if near := self._evaluated.near(normal):
            return f"nearly is in the evaluation set ({near[0]}, {near[1]:.2f})"
        if (name := self._known.exact(normal)) is not None:
            same = answers_equal(row["answer"], self._rows[name]["answer"])
            return f"is known ({name})" if same else f"is known with another answer ({name})"
        if near := self._known.near(normal):
            return f"nearly is known ({near[0]}, {near[1]:.2f})"
        return "the id belongs to another question" if row["id"] in self._rows else None

    def _reject(self, path: Path, row: str, reason: str) -> None:
        self.quarantine.append({"source": path.name, "row": row, "reason": reason})


def _words(row: Row) -> tuple[str, ...]:
    return words(row["question"], row["choices"])


def _usable(path: Path) -> list[Row]:
    """Question and choices of each row of a protected set; answers are not needed."""
    rows = [row for _, row in read(path) if isinstance(row, dict) and row.get("question")]
    if not rows:
        raise DataError(f"retrain.protected: {path} holds no question")
    return [{"question": str(row["question"]), "choices": _texts(row.get("choices"))} for row in rows]


def _texts(choices: Any) -> list[str] | None:
    if isinstance(choices, dict):
        choices = choices.get("text", list(choices.values()))
    return [str(choice) for choice in choices] if choices else None
