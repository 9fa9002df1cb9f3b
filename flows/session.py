"""One pipeline run: pulls the stages that a result needs, each once, and links them all in MLflow."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

from tqdm import tqdm

from flows.cache import run_cached
from kpod import stages, tracking
from kpod.artifacts import ArtifactRef
from kpod.config import Pipeline
from kpod.home import prepare
from kpod.settings import check_files
from kpod.student.check import check as check_student


class Session:
    """The parent MLflow run of a pipeline and the results that it has so far."""

    def __init__(self, config: Pipeline, refresh: tuple[str, ...] = (), tags: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.results: dict[str, ArtifactRef] = {}  # stage key -> result
        self.computed: list[str] = []
        self.dataset = config.questions.sources[0].dataset
        self._refresh = set(refresh)
        self._tags = dict(tags or {})
        self._stack = ExitStack()

    def __enter__(self) -> "Session":
        prepare()
        check_files(self.config)
        check_student(self.config.student)
        tags = {"kpod.dataset": self.dataset, "kpod.stage": "pipeline", **self._tags}
        self.run = self._stack.enter_context(tracking.run(self.config.name, stages.flat(self.config, ""), tags))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def result(self, name: str, config: Pipeline, method: str, **given: ArtifactRef) -> ArtifactRef:
        """The result of a stage under `config`, with everything it needs; `given` inputs are taken as they are."""
        stage = stages.STAGES[name]
        inputs = {need: given.get(need) or self.result(need, config, method) for need in stage.needs(config)}
        key = stages.key_of(stage, config, inputs)
        if key in self.results:
            return self.results[key]
        started = time.monotonic()
        tags = {"kpod.method": method, "kpod.dataset": self.dataset, "kpod.pipeline": self.config.name}
        ref, computed = run_cached(stage, key, config, inputs, self.run.run_id, tags, name in self._refresh)
        if computed:
            self.computed.append(name)
        how = f"{time.monotonic() - started:.1f} s" if computed else "cached"
        tqdm.write(f"  {name:<12} {how}")
        self.run.tag(f"kpod.ref.{method}.{name}", ref.run_id)
        self.results[key] = ref
        return ref
