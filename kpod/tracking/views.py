"""Pages of MLflow's UI: saved views (menu "Views" of the table of runs) and addresses.

A saved view is a tag of the experiment, as MLflow's own dialog writes it (3.17: name, times, and the state as JSON).
A view that exists is not changed, so that a team may edit it.
"""

import json
from collections.abc import Sequence
from urllib.parse import quote

PREFIX = "mlflow.sharedViewState."
CREATED = 1_764_374_400_000  # milliseconds since 1970, of all views
TRAINING = "workflowType=machine_learning"  # the view of training runs; MLflow's own choice is that of traces
FIGURES = ("accuracy", "accuracy_low", "accuracy_high", "target_tokens", "cpu_seconds", "rationales_cost_usd")


def _view(name: str, query: str, *tags: str, order: str = "attributes.`end_time`") -> str:
    """A view of runs as one list; ordered by start time, MLflow would nest them below their parents.

    MLflow labels a column that its menu of orders lacks by the part of `order` in back quotes.
    """
    columns = [*(f"tags.`{tag}`" for tag in tags), *(f"metrics.`{metric}`" for metric in FIGURES)]
    state = {"searchFilter": query, "orderByKey": order, "selectedColumns": columns, "columnOrder": columns}
    return json.dumps({"name": name, "createdAt": CREATED, "updatedAt": CREATED, "state": json.dumps(state)})


_METHOD, _ARM = "tags.`kpod.stage` = 'method'", "tags.`kpod.stage` = 'arm'"
_OF = ("kpod.dataset", "kpod.student")
VIEWS = {  # tags of the experiment
    f"{PREFIX}kpod-methods": _view("Methods", _METHOD, "kpod.pipeline", *_OF),
    f"{PREFIX}kpod-over-time": _view(
        "Method kpod over time", f"{_METHOD} and tags.`kpod.method` = 'kpod'", "kpod.pipeline", *_OF
    ),
    f"{PREFIX}kpod-seeds": _view(
        "Seeds of a sweep", _ARM, "kpod.method", "kpod.seed", *_OF, order="tags.`kpod.method`"
    ),
}


def run_page(experiment: str, run_id: str, part: str = "") -> str:
    """The address of a run's page, or a part of it such as `/artifacts/FILE`, relative to MLflow's root."""
    return f"#/experiments/{experiment}/runs/{run_id}{part}?{TRAINING}"


def comparison_page(experiment: str, run_ids: Sequence[str]) -> str:
    """The address of the page that compares runs, relative to MLflow's root."""
    runs, experiments = (quote(json.dumps(ids)) for ids in (list(run_ids), [experiment]))
    return f"#/compare-runs?runs={runs}&experiments={experiments}&{TRAINING}"
