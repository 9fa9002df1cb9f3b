"""Students as MLflow models, and their versions in the registry."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from kpod.config import Form
from kpod.errors import ModelError
from kpod.tracking.runs import ARTIFACTS, artifact_uri
from kpod.tracking.server import client, experiment_id
from kpod.tracking.versions import STUDENT, ModelVersion, converted, model_versions

_HOLE = "the-question"
MODEL_VERSIONS = "mlflow.modelVersions"  # tag of a logged model: where MLflow's pages read that it is registered
# What makes the artifact of a stage's run an MLflow model; `fetch` leaves it out.
MODEL_FILES = (
    "MLmodel", "components", "conda.yaml", "input_example.json", "python_env.yaml", "requirements.txt",
    "serving_input_example.json",
)  # fmt: skip

DESCRIPTION = (
    "Students distilled by kpod on the questions of **{dataset}**. `challenger` is the newest, `champion` the one that"
    " the gate has let pass. A version's tags say its method, accuracy and the gate's decision."
)
README = "The student's files are stored once, with the run that trained it: load `{source}` as an MLflow model.\n"


def log_student(run_id: str, folder: Path, form: Form) -> str:
    """Turn the student in a run's artifact store into an MLflow model (transformers flavour), once; returns its URI.

    The model's files (MODEL_FILES) are stored beside the student's folder and refer to it, so its bytes are stored
    once. The model has the training prompt as its template, a signature (question in, rationale and answer out) and an
    input example, and answers greedily. For an encoder-decoder, for which transformers has no text pipeline, the URI
    of the plain folder is returned.
    """
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder"):
        return f"{artifact_uri(run_id)}/{folder.name}"
    api = client()
    if not any(file.path == f"{ARTIFACTS}/MLmodel" for file in api.list_artifacts(run_id, ARTIFACTS)):
        with tempfile.TemporaryDirectory() as building:
            model = Path(building) / "model"
            _save_student(folder, str(model), form)
            _point_at(model, folder.name)
            api.log_artifacts(run_id, str(model), ARTIFACTS)
    return artifact_uri(run_id)


def _point_at(model: Path, folder: str) -> None:
    """Replace the weights of an MLflow model by a reference to `folder` beside its MLmodel."""
    from mlflow.models import Model

    described = Model.load(str(model))
    shutil.rmtree(model / described.flavors["transformers"]["model_binary"])
    described.flavors["transformers"]["model_binary"] = folder
    described.save(str(model / "MLmodel"))
    for path in model.iterdir():
        if path.name not in MODEL_FILES:
            raise ModelError(f"MLflow wrote an unknown file {path.name}: install the mlflow that kpod pins")


def _save_student(folder: Path, destination: str, form: Form) -> None:
    import mlflow.transformers
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema
    from transformers import pipeline

    from kpod.text.chat import resolve

    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)  # it misses a model card and a licence
    student = pipeline("text-generation", model=str(folder), device="cpu")
    student.model.name_or_path = "./student"  # no path of this machine, and no name to look up on the hub
    tokenizer = student.tokenizer
    if tokenizer is None:
        raise ModelError(f"{folder} cannot be loaded as a model: no tokenizer")
    prompt = resolve(tokenizer, form).sent_text(tokenizer, _HOLE).replace("{", "{{").replace("}", "}}")
    text = Schema([ColSpec(DataType.string)])
    mlflow.transformers.save_model(
        student,
        destination,
        prompt_template=prompt.replace(_HOLE, "{prompt}"),
        signature=ModelSignature(inputs=text, outputs=text),
        input_example=["A box holds 3 pens. How many pens are in 4 boxes?"],
        model_config={"max_new_tokens": 160, "do_sample": False, "return_full_text": False},
        # Without the list, MLflow starts the model to find out what it needs, and fails offline.
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")],
    )
    Path(destination, "LICENSE.txt").unlink(missing_ok=True)  # says only that none was found on the hub


def register_student(
    dataset: str, run_id: str, source: str, tags: Mapping[str, str], challenger: bool, model_id: str | None = None
) -> ModelVersion:
    """Register a student as `kpod-student-<dataset>` (once a run) and return its version.

    `challenger` moves that alias to it; the alias `champion` is set by the gate. `model_id` is the id of the logged
    model (`logged_student`).
    """
    from mlflow.exceptions import MlflowException

    api, name = client(), f"{STUDENT}{dataset}"
    try:
        api.create_registered_model(name, {"kpod.dataset": dataset}, DESCRIPTION.format(dataset=dataset))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [v for v in model_versions(name) if v.run_id == run_id]
    version = (
        known[0] if known else converted(api.create_model_version(name, source, run_id, dict(tags), model_id=model_id))
    )
    if model_id:
        api.set_logged_model_tags(model_id, {MODEL_VERSIONS: json.dumps([{"name": name, "version": version.version}])})
    if challenger:
        api.set_registered_model_alias(name, "challenger", version.version)
    return version


def logged_student(run_id: str, name: str, source: str, tags: Mapping[str, str]) -> str:
    """The id of the logged model that MLflow's UI links with the run of a distilled student; created once."""
    api = client()
    experiment = experiment_id(api)
    for known in api.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'", max_results=1):
        return str(known.model_id)
    model = api.create_logged_model(experiment, name, run_id, dict(tags), {"source": source}, "student")
    with tempfile.TemporaryDirectory() as building:
        Path(building, "README.md").write_text(README.format(source=source), encoding="utf-8")
        api.log_model_artifacts(model.model_id, building)
    api.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def describe_version(version: ModelVersion, text: str) -> None:
    """Set the description of a model version, in Markdown."""
    client().update_model_version(version.name, version.version, text)


def tag_version(version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags of a model version."""
    api = client()
    for key, value in tags.items():
        api.set_model_version_tag(version.name, version.version, key, value)
