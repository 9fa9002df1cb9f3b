"""Students as MLflow models, and their versions in the registry."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpod.tracking.runs import artifact_uri
from kpod.tracking.server import client

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from kpod.config import Form

_HOLE = "the-question"
STUDENT = "kpod-student-"  # registered models are named after the dataset
MODEL = "model"  # the folder of a run's artifact store that holds a student as an MLflow model


def log_student(run_id: str, folder: Path, form: "Form") -> str:
    """Store a student's folder with its run as an MLflow model (transformers flavour), once; returns the model's URI.

    The model has the training prompt as its template, a signature (question in, rationale and answer out) and an
    input example, and answers greedily. For an encoder-decoder, for which transformers has no text pipeline, the
    plain folder that the stage stored is returned instead.
    """
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder"):
        return f"{artifact_uri(run_id)}/{folder.name}"
    api = client()
    if not any(found.path == f"{MODEL}/MLmodel" for found in api.list_artifacts(run_id, MODEL)):
        with tempfile.TemporaryDirectory() as building:
            _save_student(folder, f"{building}/{MODEL}", form)
            api.log_artifacts(run_id, f"{building}/{MODEL}", MODEL)
    return f"runs:/{run_id}/{MODEL}"


def _save_student(folder: Path, destination: str, form: "Form") -> None:
    import mlflow.transformers
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema
    from transformers import pipeline

    from kpod.text.formats import resolve

    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)  # it misses a model card and a licence
    student = pipeline("text-generation", model=str(folder), device="cpu")
    student.model.name_or_path = "./student"  # no path of this machine, and no name to look up on the hub
    tokenizer = student.tokenizer
    asked = resolve(tokenizer, form).sent_text(tokenizer, _HOLE).replace("{", "{{").replace("}", "}}")
    text = Schema([ColSpec(DataType.string)])
    mlflow.transformers.save_model(
        student,
        destination,
        prompt_template=asked.replace(_HOLE, "{prompt}"),
        signature=ModelSignature(inputs=text, outputs=text),
        input_example=["A box holds 3 pens. How many pens are in 4 boxes?"],
        model_config={"max_new_tokens": 160, "do_sample": False, "return_full_text": False},
        # Without the list, MLflow starts the model to find out what it needs, and fails offline.
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")],
    )
    Path(destination, "LICENSE.txt").unlink(missing_ok=True)  # says only that none was found on the hub


def register_student(dataset: str, run_id: str, source: str, tags: Mapping[str, str], challenger: bool) -> str:
    """Register a student as `kpod-student-<dataset>` (once a run) and return its version.

    With `challenger`, that alias moves to it; the alias `champion` is given by the gate alone.
    """
    from mlflow.exceptions import MlflowException

    api, name = client(), f"{STUDENT}{dataset}"
    try:
        api.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [v for v in model_versions(name) if v.run_id == run_id]
    version = known[0] if known else api.create_model_version(name, source, run_id=run_id, tags=dict(tags))
    if challenger:
        api.set_registered_model_alias(name, "challenger", version.version)
    return str(version.version)


def model_versions(name: str) -> "list[ModelVersion]":
    """All versions of a registered model, newest first; empty if there is no such model."""
    found = _all(client().search_model_versions, f"name = '{name}'")
    return sorted(found, key=lambda version: -int(version.version))


def registered_models() -> "list[RegisteredModel]":
    """Every registered student."""
    return _all(client().search_registered_models, f"name LIKE '{STUDENT}%'")


def _all(search: Callable[..., Any], query: str) -> list[Any]:
    """What a search finds on all its pages: a page holds 100 models by default."""
    found: list[Any] = []
    token = None
    while True:
        page = search(query, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def version_of(name: str, alias_or_version: str) -> "ModelVersion | None":
    """The version with this number or alias, or None."""
    from mlflow.exceptions import MlflowException

    api = client()
    try:
        if alias_or_version.isdigit():
            return api.get_model_version(name, alias_or_version)
        return api.get_model_version_by_alias(name, alias_or_version)
    except MlflowException:
        return None


def tag_version(version: "ModelVersion", tags: Mapping[str, str]) -> None:
    """Put tags on a model version."""
    api = client()
    for key, value in tags.items():
        api.set_model_version_tag(version.name, version.version, key, value)
