"""The pages in a real browser, at the width of a phone and of a desk: nothing overflows, breaks or runs."""

import html
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from report_sample import full_report, hostile_report

from kpod.report.page import write_report
from kpod.report.tokens import write_token_view

WIDTHS = (390, 1280)

# The page under test stands unchanged in a frame of each width; the frame around it measures.
FRAME = """<!doctype html><meta charset="utf-8"><body>
<iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement;
  const images = [...inner.images];
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.clientWidth, scroll: root.scrollWidth, title: inner.title, scripts: inner.scripts.length,
    images: images.length, broken: images.filter(i => !i.naturalWidth).length,
    sections: [...inner.querySelectorAll("section")].map(s => s.id),
    outside: [...inner.querySelectorAll("body *")].filter(e => !e.closest(".scroll")
      && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 200)),
    handlers: [...inner.querySelectorAll("*")].filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length,
    small: [...inner.querySelectorAll("body *")].filter(e => e.childElementCount === 0 && e.textContent.trim()
      && parseFloat(getComputedStyle(e).fontSize) < 12).length,
  }});
}});
</script>"""


def chromium(profile: Path, *arguments: str) -> str:
    """Standard output of headless Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser and "CI" not in os.environ:
        pytest.skip("no Chromium on the PATH: install the package `chromium`")
    assert browser, "CI needs Chromium on the PATH"
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars "
        "--disable-background-networking --disable-component-update --disable-sync --disable-default-apps"
    )
    command = [browser, *switches.split(), f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=600, check=True)
    return done.stdout.decode("utf-8")


def measured(page: Path, width: int, folder: Path) -> dict:
    frame = folder / f"frame-{page.stem}-{width}.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page.read_text(encoding="utf-8"))), encoding="utf-8")
    dom = chromium(folder / "profile", "--window-size=1400,1000", "--dump-dom", frame.as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))


@pytest.fixture(scope="module", params=["full", "hostile"])
def pages(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    data = full_report(60) if request.param == "full" else hostile_report(20)
    write_report(folder / "report.html", data)
    tables = (data.weights, data.questions, data.rationales)
    paths = (folder / "tokens.html", folder / "tokens.png")
    write_token_view(*tables, data.tokenizer, *paths, left_out=data.left_out)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "tokens"])
def test_the_page_fits_and_nothing_in_it_runs(pages, name, width):
    found = measured(pages / f"{name}.html", width, pages)
    assert found["width"] == width
    assert found["outside"] == []
    assert found["scroll"] <= width
    assert found["broken"] == found["scripts"] == found["handlers"] == found["small"] == 0
    assert found["title"] != "owned"
    assert found["images"] == (8 if name == "report" else 0)
    expected = ["example", "accuracy", "learning", "curriculum", "tokens", "teacher", "samples", "lineage"]
    assert found["sections"] == (expected if name == "report" else [])


def test_a_screenshot_shows_the_token_colours(pages):
    shot = pages / "shot.png"
    page = (pages / "tokens.html").as_uri()
    chromium(pages / "profile", "--window-size=800,900", f"--screenshot={shot}", page)
    with Image.open(io.BytesIO(shot.read_bytes())) as image:
        colours = image.convert("RGB").getcolors(2**24)
    assert sum(count for count, (r, _, b) in colours if r - b > 80) > 500
