"""The pictures of MLflow's pages in docs/images, from a finished run: `python bench/mlflow_pictures.py HOME [RUN]`.

HOME is a state folder (KPOD_HOME), RUN a name or id as in `kpod runs` (the newest `demo` by default). Of a sweep it
takes the losses of its arms, of another run everything else. Starts an MLflow server on the folder and headless
Chromium, which is steered over its DevTools protocol.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 5137
SERVER = f"http://127.0.0.1:{PORT}"
SIDE = 200  # pixels of MLflow's menu, left out
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
ARMS = ["scotd-1/s0", "scotd/s0", "kpod/s0"]  # of the sweep
SHOW_MORE = "[...document.querySelectorAll('button, a')].find(e => e.innerText == 'Show more')?.click()"
ONLY_DIFFERENT = "document.querySelectorAll('button[role=switch]').forEach(e => e.click())"
FOLD = "[...document.querySelectorAll('h3, h4, span, div')].findLast(e => e.innerText == 'Visualizations')?.click()"


class Page:
    """A tab of Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)

    async def call(self, method: str, **params: Any) -> Any:
        """A command of the DevTools protocol and its result."""
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(await self._socket.recv())).get("id") != number:
            pass
        return answer.get("result", answer)

    async def script(self, text: str) -> Any:
        """The value of a JavaScript expression."""
        return (await self.call("Runtime.evaluate", expression=text))["result"].get("value")

    async def open(self, address: str, shows: str) -> None:
        """Open an address below SERVER and wait until the page shows a text."""
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=f"{SERVER}/{address}")
        async with asyncio.timeout(300):
            while not await self.script(f"document.body.innerText.includes({json.dumps(shows)})"):
                await asyncio.sleep(0.5)
        await asyncio.sleep(3)  # rows and charts that come after the text

    async def picture(self, name: str, height: int, width: int = 1300) -> None:
        """Write the page without MLflow's menu as docs/images/NAME.png."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await asyncio.sleep(3)
        clip = {"x": SIDE, "y": 0, "width": width - SIDE, "height": height, "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", clip=clip)
        (IMAGES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


async def take(page: Page, run: str) -> None:
    """The pictures of the pipeline or sweep `run`."""
    from kpod import tracking
    from kpod.run.results import find
    from kpod.tracking.views import comparison_page

    parent = find(run)
    experiment = tracking.experiment_id(tracking.client())
    await page.call("Page.enable")
    await page.call("Emulation.setDeviceMetricsOverride", width=1300, height=1500, deviceScaleFactor=1, mobile=False)
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=NO_ASSISTANT)
    below = {child.info.run_name: child.info.run_id for child in tracking.runs_of(["method", "arm"])
             if child.data.tags["mlflow.parentRunId"] == parent.info.run_id}  # fmt: skip
    if parent.data.tags["kpod.stage"] == "sweep":
        address = comparison_page(experiment, [below[arm] for arm in ARMS]).replace("compare-runs", "metric")
        shown = "metric=%22loss%22&plot_metric_keys=%5B%22loss%22%5D&x_axis=step&line_smoothness=80"
        await page.open(f"{address}&{shown}", ARMS[-1])
        await page.picture("mlflow-loss", 480)
        return
    await take_methods(page, parent, experiment, below)


async def take_methods(page: Page, parent: Any, experiment: str, below: dict[str, str]) -> None:
    """The pictures of the run of a pipeline; `below`: the ids of its methods by name."""
    from kpod.tracking.views import comparison_page, run_page

    methods = parent.data.tags["kpod.methods"].split(",")
    await page.open(run_page(experiment, parent.info.run_id), "Metrics (")
    await page.script(SHOW_MORE)
    await page.picture("mlflow-run", 1400)
    await page.open(comparison_page(experiment, [below[method] for method in methods]), "Comparing")
    await page.script(ONLY_DIFFERENT)
    await page.script(FOLD)
    await page.picture("mlflow-methods", 1050)
    view = f"#/experiments/{experiment}/runs?viewStateShareKey=kpod-methods&workflowType=machine_learning"
    await page.open(view, methods[-1])
    await page.picture("mlflow-view", 500, 1500)


async def main(run: str) -> None:
    """Start server and browser, take the pictures, and end both."""
    from kpod import tracking

    tracking.experiment_id(tracking.client())
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--backend-store-uri", tracking.uri(),
               "--host", "127.0.0.1", "--port", str(PORT), "--workers", "1"]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    browser = shutil.which("chromium") or "google-chrome"
    with tempfile.TemporaryDirectory() as profile, subprocess.Popen(command, env=env) as server:
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        with subprocess.Popen([browser, *switches, f"--user-data-dir={profile}", "about:blank"]) as chromium:
            try:
                port = await devtools(Path(profile))
                tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                async with connect(address, max_size=None) as socket:
                    await take(Page(socket), run)
            finally:
                chromium.terminate()
                server.terminate()


async def devtools(profile: Path) -> int:
    """The port of the browser's DevTools, as soon as browser and MLflow answer."""
    while True:
        await asyncio.sleep(0.5)
        try:
            urllib.request.urlopen(f"{SERVER}/health").close()
            return int((profile / "DevToolsActivePort").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("run", nargs="?", default="demo")
    arguments = parser.parse_args()
    os.environ["KPOD_HOME"] = str(arguments.home.absolute())
    asyncio.run(main(arguments.run))
