"""The checks of `kpod doctor`: versions, state folder, services, keys, hub and device, each with a fix."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx2
from packaging.requirements import Requirement

from kpod import tracking
from kpod.config.flat import scrubbed
from kpod.errors import ConfigError
from kpod.store.home import prepare
from kpod.teacher.key import LOOPBACK

FREE_GIB = 5.0  # a small real student and its checkpoints
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    status: str
    ok: bool = True
    fix: str = ""


def findings() -> Iterator[Finding]:
    """The results of all checks; a finding that is not ok has a fix."""
    yield Finding("python", sys.version.split()[0], sys.version_info >= (3, 11), "use Python 3.11 or newer")
    yield from packages()
    yield from state()
    yield from prefect(os.environ.get("PREFECT_API_URL"), os.environ.get("PREFECT_API_AUTH_STRING"))
    yield mlflow(tracking.uri())
    yield teacher_key()
    yield hub(os.environ.get("HF_ENDPOINT") or HUB)
    yield device()


def packages() -> Iterator[Finding]:
    """Requirements of the package that are not met."""
    for line in requires("kpod") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or not requirement.specifier.contains(installed, prereleases=True):
            yield Finding(requirement.name, installed, False, f'pip install "{requirement}"')


def state() -> Iterator[Finding]:
    """The state folder: whether it can be written, has working locks, and has room."""
    try:
        root = prepare()
    except ConfigError as error:
        yield Finding("state folder", str(error), False, "set KPOD_HOME to a folder that you can write")
        return
    yield Finding("state folder", str(root))
    yield Finding("locks", *_locks(root))
    free = shutil.disk_usage(root).free / 2**30
    yield Finding("disk", f"{free:.1f} GiB free", free >= FREE_GIB, "kpod clean, or move KPOD_HOME")


def _locks(root: Path) -> tuple[str, bool, str]:
    probe = root / f".probe.{os.getpid()}"
    first = os.open(probe, os.O_RDWR | os.O_CREAT, 0o600)
    second = os.open(probe, os.O_RDWR)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "flock works", True, ""
    except OSError as error:
        return f"flock fails ({error.strerror})", False, "put KPOD_HOME on a local disk or a file system with flock"
    finally:
        os.close(first)
        os.close(second)
        probe.unlink()
    return "flock lets two in at once", False, "put KPOD_HOME on a local disk or a file system with flock"


def prefect(url: str | None, auth: str | None) -> Iterator[Finding]:
    """The Prefect server: whether it answers, its version, password, work pool and concurrency limit."""
    if not url:
        yield Finding("Prefect", "no server set, files under KPOD_HOME are used")
        return
    user, _, password = (auth or ":").partition(":")
    client = httpx2.Client(base_url=url.rstrip("/") + "/", timeout=3, auth=(user, password) if auth else None)
    with client:
        try:
            client.get("health").raise_for_status()
            running = client.get("admin/version").raise_for_status().json()
        except httpx2.HTTPStatusError as error:
            fix = "set PREFECT_API_AUTH_STRING" if error.response.status_code in (401, 403) else "look at its log"
            yield Finding("Prefect", f"{url} says {error.response.status_code}", False, fix)
            return
        except (httpx2.HTTPError, ValueError) as error:
            yield Finding("Prefect", f"{url} does not answer ({type(error).__name__})", False, "prefect server start")
            return
        here = version("prefect")
        yield Finding(
            "Prefect", f"{url} answers, version {running}", running == here, f"run version {here} on both sides"
        )
        yield from _objects(client)
    if httpx2.URL(url).host not in LOOPBACK and _open(url):
        yield Finding(
            "Prefect guard", "reachable by others without a password", False, "PREFECT_SERVER_API_AUTH_STRING"
        )


def _open(url: str) -> bool:
    """Whether the server answers without a password."""
    try:
        return httpx2.get(url.rstrip("/") + "/admin/version", timeout=3).status_code == 200
    except httpx2.HTTPError:
        return False


def _objects(client: httpx2.Client) -> Iterator[Finding]:
    for name, path, fix in (
        ("work pool", "work_pools/kpod", "prefect work-pool create kpod --type process"),
        ("GPU queue", "work_pools/kpod/queues/gpu", "prefect work-queue create gpu --pool kpod --limit 1"),
        (
            "teacher limit",
            "v2/concurrency_limits/kpod-teacher",
            "prefect global-concurrency-limit create kpod-teacher --limit 1",
        ),
    ):
        present = client.get(path).status_code == 200
        yield Finding(name, path.rpartition("/")[2] + (" is there" if present else " is missing"), present, fix)


def mlflow(uri: str) -> Finding:
    """The MLflow server: whether it answers, and its version; or the file under KPOD_HOME."""
    shown = scrubbed(uri)
    if not uri.startswith("http"):
        return Finding("MLflow", f"no server set, {shown} is used")
    try:
        httpx2.get(uri.rstrip("/") + "/health", timeout=3).raise_for_status()
        running = httpx2.get(uri.rstrip("/") + "/version", timeout=3).raise_for_status().text.strip('"')
    except httpx2.HTTPError as error:
        fix = "start it: mlflow server, or unset MLFLOW_TRACKING_URI"
        return Finding("MLflow", f"{shown} does not answer ({type(error).__name__})", False, fix)
    here = version("mlflow")
    return Finding(
        "MLflow", f"{shown} answers, version {running}", running == here, f"run version {here} on both sides"
    )


def teacher_key() -> Finding:
    """Whether the environment has a key; its value is not shown."""
    present = bool(os.environ.get("OPENAI_API_KEY"))
    return Finding("teacher key", f"OPENAI_API_KEY is {'set' if present else 'not set (the demo needs none)'}")


def hub(address: str) -> Finding:
    """Whether the Hugging Face hub can be reached, unless HF_HUB_OFFLINE is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding("hub", "not asked, HF_HUB_OFFLINE is set")
    try:
        httpx2.head(address, timeout=3, follow_redirects=True)
    except httpx2.HTTPError as error:
        fix = "set HF_HUB_OFFLINE=1 and use folders and files, or HF_ENDPOINT for a mirror"
        return Finding("hub", f"{address} does not answer ({type(error).__name__})", False, fix)
    return Finding("hub", f"{address} answers")


def device() -> Finding:
    """The GPU with its free memory, or the CPU; not ok for a GPU that torch cannot use."""
    if not (shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists()):
        return Finding("device", f"CPU, {os.cpu_count()} cores")
    import torch  # a second of imports, for machines with a driver

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        status = f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        return Finding("device", status, free > total / 10, "another process holds the GPU's memory: nvidia-smi")
    fix = f"install a CUDA build of torch (here: {torch.__version__})"
    return Finding("device", "there is an NVIDIA driver, but torch sees no GPU", False, fix)
