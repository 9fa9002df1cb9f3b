"""Fixtures that every room shares: a state folder of its own for each test."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no fault.
settings.register_profile("kpod", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kpod")

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_configure(config: pytest.Config) -> None:
    """Run on the CPU, as CI does, unless the tests marked `gpu` are asked for: `pytest -m gpu`."""
    asked = config.option.markexpr
    if "gpu" not in asked or "not gpu" in asked:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def kpod_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh KPOD_HOME, so that no test sees the state of another or of the developer."""
    home = tmp_path / "kpod-home"
    monkeypatch.setenv("KPOD_HOME", str(home))
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def checkpoint_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `checkpoint_seconds=1e-9`, whatever a checkpoint costs."""
    monkeypatch.setattr("kpod.training.interval.RATIO", 0)
