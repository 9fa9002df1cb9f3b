"""Provenance of a model version: all stages back to the input files, with code version, seeds and teacher."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kpod import tracking
from kpod.models import registry
from kpod.run.stages import STAGES
from kpod.store.code_version import code_version
from kpod.store.home import home

TEACHER = {"requests_sent": "requests sent", "from_journal": "answers from the journal", "cost_usd": "US dollars"}


@dataclass(frozen=True)
class Node:
    """A stage's result, or an input file."""

    name: str
    sha256: str
    source: str  # artifact URI or path
    run_id: str = ""  # empty for a file
    facts: tuple[str, ...] = ()  # code version, seeds, teacher
    inputs: tuple["Node", ...] = field(default=())


def lineage(model: str) -> tuple[tracking.ModelVersion, Node]:
    """A model version and the tree of its results and files. Raises ConfigError if there is no such model."""
    version = registry.find(model)
    ref = registry.student_of(version)
    return version, node("student", ref.sha256, ref.uri, {})


def node(name: str, sha256: str, source: str, seen: dict[str, Node]) -> Node:
    """The node of the result at an artifact URI or of the file at a path; `seen` holds the nodes by run id."""
    run_id = tracking.run_of(source) if source.startswith("runs:/") else _maker(source)
    if not run_id:
        return Node(name, sha256, source)
    if run_id not in seen:
        run = tracking.get_run(run_id)
        if run is None:
            return Node(name, sha256, source, run_id, ("its run is gone",))
        inputs = tracking.inputs_of(run_id)
        seen[run_id] = Node(
            run.data.tags.get("kpod.stage", name),
            run.data.tags.get("kpod.sha256", sha256),
            source,
            run_id,
            tuple(_facts(run.data.tags, run.data.params, run.data.metrics)),
            tuple(node(key, digest, place, seen) for key, (digest, place) in sorted(inputs.items())),
        )
    return seen[run_id]


def _maker(path: str) -> str:
    """The id of the run that wrote a file under KPOD_HOME/artifacts/STAGE/KEY, else empty."""
    parts = path.removeprefix(f"{home()}/artifacts/").split("/")
    if not path.startswith(f"{home()}/artifacts/") or len(parts) < 2:
        return ""
    run = tracking.newest_run({"kpod.cache_key": parts[1]})
    return run.info.run_id if run else ""


def _facts(tags: Mapping[str, str], params: Mapping[str, str], metrics: Mapping[str, float]) -> Iterator[str]:
    stage = tags.get("kpod.stage", "")
    if code := tags.get("kpod.code"):
        module = STAGES[stage].module if stage in STAGES else None
        same = "" if module is None or code_version(module) == code else ", not the code that is here"
        yield f"code {code[:16]}{same}"
    seeds = [f"{key} = {value}" for key, value in sorted(params.items()) if key.split(".")[-1] == "seed"]
    if seeds:
        yield ", ".join(seeds)
    if stage == "rationales":
        yield from _teachers(params)
        figures = [f"{metrics[f'rationales.{k}']:g} {v}" for k, v in TEACHER.items() if f"rationales.{k}" in metrics]
        yield f"journal {home() / 'journal'}: {', '.join(figures)}"


def _teachers(params: Mapping[str, str]) -> Iterator[str]:
    """The teacher of the stage, or several with their names and shares of the questions."""
    several = sorted({key.split(".")[2] for key in params if key.startswith("rationales.teachers.")}, key=int)
    for number in several or [""]:
        at = f"rationales.teachers.{number}." if number else "rationales."
        address = params.get(f"{at}endpoint.base_url", "this machine")
        share = f" {params.get(f'{at}name')}, asked a share of {params.get(f'{at}share')}:" if number else ""
        yield f"teacher{share} {params.get(f'{at}model')} at {address}"
