"""`kpod doctor`: each trouble is found and comes with its fix."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest

from kpod import tracking
from kpod.cli import doctor
from kpod.cli.doctor import Finding
from kpod.cli.launch import mlflow_command


class Service:
    """A server on loopback that answers with what `answers` holds for a path: (status, JSON)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.authorised: list[str | None] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.authorised.append(self.headers.get("Authorization"))
                status, body = service.answers.get(self.path, (404, None))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    thread = Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_healthy_prefect_has_no_complaint(service: Service) -> None:
    paths = ("health", "work_pools/kpod", "work_pools/kpod/queues/gpu", "v2/concurrency_limits/kpod-teacher")
    service.answers = {f"/api/{path}": (200, True) for path in paths}
    service.answers["/api/admin/version"] = (200, version("prefect"))
    found = by_name(doctor.prefect(f"{service.url}/api", "kpod:secret"))
    assert set(found) == {"Prefect", "work pool", "GPU queue", "teacher limit"}
    assert all(finding.ok for finding in found.values())
    assert all((header or "").startswith("Basic ") for header in service.authorised)
    assert "secret" not in str(found)


def test_what_a_prefect_server_lacks_comes_with_the_command_that_makes_it(service: Service) -> None:
    service.answers = {"/api/health": (200, True), "/api/admin/version": (200, "2.0.0")}
    found = by_name(doctor.prefect(f"{service.url}/api", None))
    assert not any(finding.ok for finding in found.values())
    assert found["Prefect"].fix == f"run version {version('prefect')} on both sides"
    assert found["work pool"].fix == "prefect work-pool create kpod --type process"
    assert "--limit 1" in found["GPU queue"].fix
    assert "kpod-teacher" in found["teacher limit"].fix


def test_servers_that_refuse_or_are_away_are_told_apart(service: Service) -> None:
    service.answers = {"/api/health": (401, None)}
    (refused,) = doctor.prefect(f"{service.url}/api", None)
    assert (refused.ok, refused.fix) == (False, "set PREFECT_API_AUTH_STRING")
    (away,) = doctor.prefect("http://127.0.0.1:9/api", None)
    assert (away.ok, away.fix) == (False, "prefect server start")
    assert not doctor.mlflow("http://127.0.0.1:9").ok
    assert "unset MLFLOW_TRACKING_URI" in doctor.mlflow("http://127.0.0.1:9").fix
    service.answers |= {"/health": (200, True), "/version": (200, version("mlflow"))}
    assert doctor.mlflow(service.url).ok
    service.answers["/version"] = (200, "1.0")
    assert doctor.mlflow(service.url).fix == f"run version {version('mlflow')} on both sides"


def test_a_server_is_open_if_it_answers_somebody_without_a_password(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the asker has one says nothing."""
    monkeypatch.setattr(doctor, "LOOPBACK", ())
    service.answers = {"/api/health": (200, True), "/api/admin/version": (200, version("prefect"))}
    assert not by_name(doctor.prefect(f"{service.url}/api", "kpod:secret"))["Prefect guard"].ok
    monkeypatch.setattr(doctor, "_open", lambda url: False)
    assert "Prefect guard" not in by_name(doctor.prefect(f"{service.url}/api", "kpod:secret"))


@pytest.mark.parametrize("address", ["http://me:s3cret@127.0.0.1:9", "postgresql://me:s3cret@host/mlflow"])
def test_no_password_is_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "s3cret" not in str(doctor.mlflow(address))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert "s3cret" not in tracking.address()
    assert "s3cret" not in mlflow_command()


def test_the_state_folder_must_be_writable_lockable_and_roomy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kpod_home: Path
) -> None:
    found = by_name(doctor.state())
    assert found["locks"].ok
    assert not list(kpod_home.glob(".probe*"))
    monkeypatch.setattr(doctor, "FREE_GIB", 1e9)
    full = by_name(doctor.state())["disk"]
    assert (full.ok, full.fix) == (False, "kpod clean, or move KPOD_HOME")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KPOD_HOME", str(tmp_path / "file" / "below"))
    (broken,) = doctor.state()
    assert not broken.ok
    assert "set KPOD_HOME" in broken.fix


def test_a_file_system_whose_locks_do_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.fcntl, "flock", lambda descriptor, how: None)
    found = by_name(doctor.state())["locks"]
    assert not found.ok
    assert "file system with flock" in found.fix


def test_hub_and_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not asked" in doctor.hub("http://127.0.0.1:9").status
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert not doctor.hub("http://127.0.0.1:9").ok
    assert "HF_HUB_OFFLINE=1" in doctor.hub("http://127.0.0.1:9").fix
    assert doctor.hub(service.url).ok
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(doctor, "packages", lambda: iter(()))
    assert "http://127.0.0.1:9" in by_name(doctor.findings())["hub"].status
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "is set" in doctor.teacher_key().status
    assert "very-secret" not in str(doctor.teacher_key())


def test_missing_and_wrong_packages_are_named_with_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99", "no-such-package>=1", "pyarrow>=1"])
    found = by_name(doctor.packages())
    assert set(found) == {"torch", "no-such-package"}
    assert found["no-such-package"].fix == 'pip install "no-such-package>=1"'


def test_a_gpu_that_torch_cannot_see_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    found = doctor.device()
    assert not found.ok
    assert "CUDA build of torch" in found.fix
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.device().ok
