"""`KPOD_HOME`: the one folder that holds all state (artifacts, journal, MLflow, Prefect)."""

import os
import re
from pathlib import Path
from urllib.parse import quote

from kpod.errors import ConfigError

LIBRARIES = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a bar for each small file hides everything else
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # of loaded weights and written files too
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",  # of the processes that a stage starts; the command line ignores its own
    "TOKENIZERS_PARALLELISM": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default keeps leases in memory: after the server ends, their slots would never be released.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds: tells a run whose machine died from one that trains
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 by default: too few where the cores are busy
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command line prints errors
}


def home() -> Path:
    """The state folder, absolute: the environment variable KPOD_HOME, default `.kpod` in the working directory."""
    return Path(os.environ.get("KPOD_HOME", ".kpod")).absolute()


def sqlite_url(file: Path, driver: str) -> str:
    """SQLAlchemy's URL of an SQLite file, through `driver` (pysqlite, aiosqlite).

    SQLAlchemy unquotes nothing in a path and reads options behind a `?`, so a path with characters that are special in
    a URL is given as SQLite's own `file:` URI, which is quoted.
    """
    if not re.search(r"[?#%]", str(file)):
        return f"sqlite{'' if driver == 'pysqlite' else f'+{driver}'}:///{file}"
    return f"sqlite+{driver}:///file:{quote(str(file))}?uri=true"


def prepare() -> Path:
    """Create the state folder and return it. Raises ConfigError if it cannot be written."""
    root = home()
    probe = root / f".probe.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"KPOD_HOME: {root} cannot be written ({reason}); point KPOD_HOME elsewhere") from error
    return root


def quiet_libraries() -> None:
    """No telemetry, bars or warnings of the libraries, set before they are imported; variables already set are kept."""
    for name, value in LIBRARIES.items():
        os.environ.setdefault(name, value)


def set_environment() -> None:
    """`quiet_libraries`, and Prefect set before it is imported: its database under KPOD_HOME, no telemetry.

    For processes of kpod alone: Prefect of the caller's own, in a notebook, would move to this KPOD_HOME too.
    """
    quiet_libraries()
    for name, value in PREFECT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(home() / "prefect"))
    database = sqlite_url(home() / "prefect" / "prefect.db", "aiosqlite")
    if "?" in database:  # else Prefect's own default is the same
        os.environ.setdefault("PREFECT_API_DATABASE_CONNECTION_URL", database)
