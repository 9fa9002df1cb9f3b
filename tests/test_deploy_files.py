"""prefect.yaml and docker/: what they promise must fit the code, and nothing is open or unpinned by accident."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from kpod.config.settings import load_sweep

ROOT = Path(__file__).parent.parent
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def flow_of(deployment: dict[str, Any]) -> Any:
    file, _, function = deployment["entrypoint"].partition(":")
    return getattr(import_module(file.removesuffix(".py").replace("/", ".")), function)


def test_there_is_one_deployment_a_stage_and_those_for_retraining() -> None:
    from flows.pipeline import StageName

    names = {f"{flow_of(deployment).name}/{deployment['name']}" for deployment in DEPLOYMENTS}
    assert names >= {f"kpod/{stage}" for stage in StageName.__args__}  # type: ignore[attr-defined]
    assert names >= {"kpod/full-pipeline", "kpod-retrain/nightly", "kpod-retrain/on-data"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_the_parameters_of_each_deployment_fit_its_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    # What has no default is asked for in the form: a sweep.
    given = {"sweep": load_sweep("table-2", "tiny")} if deployment["name"] == "sweep" else {}
    defaults = {name: p.default for name, p in _defaults(flow) if p.default is not p.empty}
    checked = flow.validate_parameters({**defaults, **given, **deployment["parameters"]})
    assert set(deployment["parameters"]) <= set(checked)
    if (stage := deployment["parameters"].get("until")) is not None:
        assert (deployment["name"], deployment["parameters"]["refresh"]) == (stage, [stage])
    assert deployment["work_pool"]["name"] == "kpod"
    assert deployment["concurrency_limit"]["collision_strategy"] == "ENQUEUE"


def _defaults(flow: Any) -> list[tuple[str, Any]]:
    import inspect

    return list(inspect.signature(flow.fn).parameters.items())


def test_the_triggers_event_and_payload_are_what_the_code_emits() -> None:
    from flows import events

    (deployment,) = [one for one in DEPLOYMENTS if one["name"] == "on-data"]
    (trigger,) = deployment["triggers"]
    assert trigger["expect"] == [events.ARRIVED]
    assert set(trigger["parameters"]) <= {name for name, _ in _defaults(flow_of(deployment))}
    (nightly,) = [one for one in DEPLOYMENTS if one["name"] == "nightly"]
    assert nightly["schedules"][0]["cron"] == "30 2 * * *"


@pytest.mark.parametrize("name", ["kubernetes-pool.json", "docker-pool.json"])
def test_every_placeholder_of_a_pools_template_is_a_variable(name: str) -> None:
    template = json.loads((ROOT / "docker" / name).read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def test_kubernetes_jobs_ask_for_gpus_and_have_no_more_rights_than_they_need() -> None:
    template = json.loads((ROOT / "docker" / "kubernetes-pool.json").read_text())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_services_are_on_loopback_pinned_watched_and_take_passwords_from_secrets() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        image = service["image"]
        assert re.search(r":[^:]*\d", image), image
        assert "latest" not in image
        for key, value in (service.get("environment") or {}).items():
            assert not re.search(r"PASSWORD(?!_FILE)|SECRET|API_KEY|AUTH", key), f"{name}: {key}={value}"
        if service.get("ports"):
            assert "healthcheck" in service, name
        used = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service)))
        assert used <= set(service.get("secrets", [])), name
    assert all("file" in secret for secret in COMPOSE["secrets"].values())
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"  # what enters the image is named, so no key or data can slip in
    assert not any("secrets" in line for line in ignored)


def test_the_image_runs_as_nobody_in_particular_from_a_pinned_base() -> None:
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    (base,) = [line for line in lines if line.startswith("ARG PYTHON=")]
    assert re.fullmatch(r"ARG PYTHON=python:3\.11\.\d+-slim-bookworm", base)
    pins = [p for p in (ROOT / "docker" / "constraints.txt").read_text().splitlines() if not p.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)
    project = (ROOT / "pyproject.toml").read_text()
    for pin in ("prefect", "mlflow"):
        version = re.search(rf'"{pin}==([\d.]+)"', project)
        assert version
        assert f"{pin}=={version[1]}" in pins
