"""What `kpod doctor` looks at: versions, state folder, services and keys, each with the way to mend it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import httpx2
from packaging.requirements import Requirement

from kpod import tracking
from kpod.errors import ConfigError
from kpod.home import home, prepare

FREE_GIB = 5.0  # a small real student and its checkpoints


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    ok: bool = True
    fix: str = ""


def findings() -> Iterator[Finding]:
    """Look at everything; a finding that is not ok carries its fix."""
    yield Finding("python", sys.version.split()[0], sys.version_info >= (3, 11), "use Python 3.11 or newer")
    yield from _packages()
    yield _state()
    free = shutil.disk_usage(home() if home().exists() else ".").free / 2**30
    yield Finding("disk", f"{free:.1f} GiB free", free >= FREE_GIB, f"free {FREE_GIB:.0f} GiB or move KPOD_HOME")
    yield _service("Prefect", os.environ.get("PREFECT_API_URL"), "/health", "prefect server start")
    server = tracking.uri() if tracking.uri().startswith("http") else None
    yield _service("MLflow", server, "/health", "mlflow server, or unset MLFLOW_TRACKING_URI")
    yield Finding("teacher key", "OPENAI_API_KEY is " + ("set" if os.environ.get("OPENAI_API_KEY") else "not set"))
    yield _device()


def _packages() -> Iterator[Finding]:
    for line in requires("kpod") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = "missing"
        if found == "missing" or not wanted.specifier.contains(found, prereleases=True):
            yield Finding(wanted.name, found, False, f'pip install "{wanted}"')


def _state() -> Finding:
    try:
        return Finding("state folder", str(prepare()))
    except ConfigError as error:
        return Finding("state folder", str(error), False, "set KPOD_HOME to a folder that you can write")


def _service(name: str, url: str | None, path: str, start: str) -> Finding:
    if not url:
        return Finding(name, "no server set, files under KPOD_HOME are used")
    try:
        httpx2.get(url.rstrip("/") + path, timeout=3).raise_for_status()
    except httpx2.HTTPError as error:
        return Finding(name, f"{url} does not answer ({type(error).__name__})", False, f"start it: {start}")
    return Finding(name, f"{url} answers")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", torch.cuda.get_device_name())
    return Finding("device", f"CPU, {torch.get_num_threads()} threads")
