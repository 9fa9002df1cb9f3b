"""One stage by itself, on tables in memory in place of the folders of earlier stages."""

import atexit
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from kpod import schemas
from kpod.config import Pipeline
from kpod.errors import ConfigError, DataError
from kpod.run.stages import STAGES, check_names
from kpod.store.home import quiet_libraries
from kpod.text.table import FILE

if TYPE_CHECKING:
    import pandas as pd

INPUTS = {
    "questions": schemas.QUESTIONS,
    "rationales": schemas.RATIONALES,
    "steps": schemas.STEPS,
    "tokens": schemas.TOKENS,
    "weights": schemas.WEIGHTS,
    "difficulty": schemas.DIFFICULTY,
    "curriculum": schemas.CURRICULUM,
}
STUDENTS = ("base", "student")  # inputs that are no table


@dataclass(frozen=True)
class StageResult:
    """What one stage made: the folder that it wrote, and the figures that a pipeline would log."""

    folder: Path
    figures: Mapping[str, float]

    def table(self, name: str) -> pa.Table:
        """A file of the folder as an Arrow table, e.g. `weights`. Raises ConfigError if it has none."""
        return table_in(self.folder, name)


def table_in(folder: Path, name: str) -> pa.Table:
    """A table that a stage wrote to its folder; `tokens` is memory-mapped. Raises ConfigError if it has none."""
    if name == "tokens":
        return schemas.mapped(folder / FILE, schemas.TOKENS)[1]
    if not (path := folder / f"{name}.parquet").is_file():
        made = ", ".join(sorted(file.stem for file in folder.iterdir() if file.suffix in (".parquet", ".arrow")))
        raise ConfigError(f"there is no table {name} here, but {made or 'none'}")
    return pq.read_table(path)


def stage(
    name: str,
    config: Pipeline | BaseModel,
    /,
    out: str | Path | None = None,
    **inputs: "pa.Table | pd.DataFrame | StageResult | str | Path",
) -> StageResult:
    """Run one stage on what it reads: `stage("steps", config, rationales=frame).table("steps")`.

    `config` is that of a pipeline (of one method: `kpod.config.variants.apply`) or the stage's own part of it. Inputs
    have the names of the stages that write them. Tables are checked against `kpod.schemas`, and their rows belong
    together by `(question_id, sample)`, in any order; more columns do no harm. A `StageResult` or its folder does as
    well. `base` and `student` are such folders, or Hugging Face model folders. The stage writes to `out`, which has to
    be new or empty, by default to a temporary folder that is removed when Python ends. Nothing is cached or tracked,
    but the journal of paid answers is used. Raises ConfigError for an input that is missing or unknown, DataError in
    one line for a table that does not fit, and the errors of the stage.
    """
    check_names([name])
    quiet_libraries()
    run = import_module(STAGES[name].module).run
    part: dict[str, Any] = {name: config}
    whole = config if isinstance(config, Pipeline) else Pipeline.model_construct(**part)
    settings = STAGES[name].config(config) if isinstance(config, Pipeline) else config
    if not isinstance(settings, get_type_hints(run)["config"]):
        raise ConfigError(f"stage {name}: {type(settings).__name__} is neither a Pipeline nor this stage's part of one")
    if unknown := [one for one in inputs if one not in (*INPUTS, *STUDENTS)]:
        raise ConfigError(f"stage {name}: no stage writes {unknown[0]}; inputs are {', '.join((*INPUTS, *STUDENTS))}")
    if missing := [need for need in STAGES[name].needs(whole) if need not in inputs]:
        raise ConfigError(f"stage {name} reads {', '.join(STAGES[name].needs(whole))}: give {missing[0]}=")
    with TemporaryDirectory(prefix="kpod-inputs-") as given:
        folders = {one: _folder(one, value, Path(given)) for one, value in inputs.items()}
        folder = _empty(out)
        figures = run(folders, settings, folder)
    shutil.rmtree(folder / "work", ignore_errors=True)
    return StageResult(folder, figures)


def _empty(out: str | Path | None) -> Path:
    if out is None:
        folder = Path(mkdtemp(prefix="kpod-stage-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"out: {folder} is not empty")
    return folder


def _folder(name: str, value: Any, root: Path) -> Path:
    """The folder that the stage `name` would have written, made below `root` if `value` is no such folder yet."""
    path = value.folder if isinstance(value, StageResult) else value
    if isinstance(path, str | Path):
        path = Path(path).absolute()
        if not path.is_dir():
            raise ConfigError(f"{name}: {path} is no folder")
        if name not in STUDENTS or (path / "student").is_dir():
            return path
        (root / name).mkdir()
        (root / name / "student").symlink_to(path)
        return root / name
    if name in STUDENTS:
        raise ConfigError(f"{name}: give the folder of a model, not a {type(value).__name__}")
    found = _fitting(name, value)
    (root / name).mkdir()
    about = {key.decode(): text.decode() for key, text in (found.schema.metadata or {}).items() if key != b"pandas"}
    path = root / name / (FILE if name == "tokens" else f"{name}.parquet")
    with schemas.writing(path, INPUTS[name], about) as write:
        write(dict(zip(found.column_names, found.columns, strict=True)))
    return root / name


def _fitting(name: str, value: Any) -> pa.Table:
    """The columns of the schema, cast to its types. Raises DataError that names the column that does not fit."""
    try:
        found = value if isinstance(value, pa.Table) else pa.Table.from_pandas(value)
    except (pa.ArrowInvalid, pa.ArrowTypeError, AttributeError) as error:
        raise DataError(f"{name}: cannot be read as a table: {' '.join(map(str, error.args))}") from error
    columns = []
    for field in INPUTS[name]:
        if field.name not in found.column_names:
            raise DataError(f"{name}: the column {field.name} ({field.type}) is missing")
        try:
            columns += schemas.table({field.name: found[field.name]}, pa.schema([field])).columns
        except DataError as error:
            raise DataError(f"{name}: the column {field.name} has to be {field.type}: {error}") from error
    return pa.table(columns, INPUTS[name].with_metadata(found.schema.metadata))
