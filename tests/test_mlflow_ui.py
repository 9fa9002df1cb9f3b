"""A sweep's arms in MLflow's own pages: a real server, a real browser, what a person would compare by."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from configs import REQUIRED
from PIL import Image
from server_tools import answers, free_port
from test_report_browser import chromium

from kpod import tracking
from kpod.config.flat import flatten
from kpod.config.sweep import Sweep
from kpod.sweep.plan import arms

STEPS, TOKENS = 40, 1500  # optimizer steps of a curve, and target tokens a step
SWEEP = Sweep.model_validate(
    {
        "datasets": {"sums": REQUIRED["questions"]["sources"]},
        "pipeline": {"teacher": REQUIRED["teacher"], "student": REQUIRED["student"]},
        "methods": ["scotd", "kpod"],
        "seeds": [0, 1],
    }
)


@pytest.fixture
def server(kpod_home: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server over the runs of a sweep's arms, and their ids."""
    ids = []
    with tracking.run("sums-sweep", {}, {"kpod.stage": "sweep"}) as parent:
        for number, arm in enumerate(arms(SWEEP)):
            params = dict(flatten(arm.config.model_dump(mode="json")))
            tags = {"kpod.stage": "arm", **arm.tags}
            with tracking.run(arm.label, params, tags, parent.run_id) as run:
                run.metrics({"accuracy": 0.2 + number / 10, "accuracy.sums.test": 0.2 + number / 10})
                for step in range(1, STEPS + 1):
                    run.metrics({"loss": 2 / (step + number)}, TOKENS * step)
                ids.append(run.run_id)
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--backend-store-uri", tracking.uri(),
               "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(f"{url}/health"):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield url, ids
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _json(value: object) -> str:
    return quote(json.dumps(value))


@pytest.mark.slow  # a server of its own and a page of some megabytes of script
@pytest.mark.timeout(900)
def test_arms_stand_side_by_side_and_their_curves_run_over_target_tokens(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ids = server
    experiment = tracking.experiment_id(tracking.client())
    budget = ("--window-size=1500,3000", "--virtual-time-budget=60000")
    runs = f"runs={_json(ids)}&experiments={_json([experiment])}"
    dom = chromium(tmp_path / "profile", *budget, "--dump-dom", f"{url}/#/compare-runs?{runs}")
    names = ("scotd/s0", "kpod/s1", "distill.progressive", "distill.seed", "accuracy.sums.test")
    tags = ("kpod.method", "kpod.dataset", "kpod.student", "kpod.seed")
    assert [shown for shown in ("Comparing 4 Runs", *names, *tags) if shown not in dom] == []
    metric = f"{url}/#/metric?{runs}&metric={_json('loss')}&plot_metric_keys={_json(['loss'])}&x_axis=step"
    dom = chromium(tmp_path / "profile", *budget, "--dump-dom", metric)
    ticks = re.findall(r'class="xtick".*?>([^<>]+)</text>', dom)
    assert f"(step={STEPS * TOKENS})" in dom  # the table below the chart
    assert "60k" in ticks or "50k" in ticks, ticks  # and its axis
    shot = tmp_path / "loss.png"
    chromium(tmp_path / "profile", *budget, f"--screenshot={shot}", metric)
    with Image.open(shot) as image:
        assert len(image.convert("RGB").getcolors(2**24) or []) > 100
