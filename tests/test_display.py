"""What a person sees of a run: live in a terminal, lines in a pipe, warnings alone if that is wanted."""

import io
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from kpod import display, observe
from kpod.cli import ending
from kpod.display import Lines, Live, displayed, duration


def work() -> None:
    """A cached stage, and one that is computed with a bar, a cost and a warning."""
    observe.stage_started("questions", "kpod")
    observe.stage_finished("questions", "kpod", 0.1, computed=False)
    observe.stage_started("rationales", "kpod")
    with observe.progress("rationales", 4, "question") as bar:
        observe.metrics({"usd": 0.0123})
        bar.advance(4, failed=0)
        observe.warning("one [answer] is odd")
    observe.stage_finished("rationales", "kpod", 64.0, computed=True)


@pytest.mark.parametrize("width", [80, 140])
def test_in_a_terminal_finished_stages_are_a_list_above_the_one_at_work(width: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=width, color_system=None, highlight=False)
    with Live(console) as live, observe.observing(live):
        work()
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.getvalue()).replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.startswith(("✓", "!", "✗"))]
    assert [line.rstrip() for line in lines] == [
        "✓ questions   kpod             cached",
        "! one [answer] is odd",
        "✓ rationales  kpod             1:04  $0.0123",
    ]
    assert "4/4" in text
    assert max(map(len, text.splitlines())) <= width


def test_stages_that_follow_are_listed_from_the_beginning_as_far_as_the_screen_allows() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=10, color_system=None)

    def shown(live: Live) -> list[str]:
        parts = live._bar.get_renderables()
        return [line for part in parts if isinstance(part, Text) for line in part.plain.splitlines()]

    with Live(console) as live:
        live.stages_planned([("questions", "kpod"), ("distill", "kpod"), ("evaluate", "kpod")])
        assert shown(live) == ["- questions   kpod", "- distill     kpod", "- evaluate    kpod"]
        live.stage_started("questions", "kpod")
        assert shown(live) == ["- distill     kpod", "- evaluate    kpod"]
        live.stages_planned([("evaluate", f"arm-{number}") for number in range(20)])
        assert len(shown(live)) == 6
        assert shown(live)[-1] == "- and 15 more"


def test_a_stage_that_fails_is_marked() -> None:
    shown = io.StringIO()
    live = Live(Console(file=shown, force_terminal=True, width=80))
    with live, suppress(KeyboardInterrupt):
        live.stage_started("distill", "kpod")
    assert "stopped" not in shown.getvalue()
    with suppress(KeyboardInterrupt), live:
        raise KeyboardInterrupt
    assert "distill     kpod             stopped" in shown.getvalue()


def test_in_a_pipe_a_stage_is_a_line_and_long_ones_tell_how_far_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "LINE_SECONDS", 0.0)
    with observe.observing(Lines()):
        work()
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "  questions   kpod             cached",
        "  rationales  kpod             1:04  $0.0123",
    ]
    assert told.err.splitlines()[1:] == [
        "  rationales  kpod             4/4  failed 0",
        "warning: one [answer] is odd",
    ]
    assert "\x1b" not in told.out + told.err


def test_quiet_shows_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with displayed(quiet=True):
        work()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "warning: one [answer] is odd\n")


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (245, "4:05"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_run_ends_with_headline_tables_and_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"method": "kpod", "dataset": "stories", "split": "test", "questions": 800, "accuracy": 0.61}
    paired = {"a": "scotd", "b": "kpod", "dataset": "stories", "split": "test", "difference": 0.07, "p_value": 0.001}
    cost = {"target_tokens": 12_345, "epochs": 8, "cpu_seconds": 61.5, "wall_seconds": 40, "preparation_seconds": None}
    told = {
        "headline": {
            "sentence": "kpod 61%",
            "where": "stories test, 800 questions",
            "rationales": None,
            "method": "kpod",
            "against": "scotd",
        },
        "methods": {"kpod": "KPOD: token weights and a curriculum"},
        "accuracy": [{**row, "low": 0.58, "high": 0.64, "truncated": 0.0}],
        "comparisons": [{**paired, "low": 0.03, "high": 0.11}, {**paired, "a": "base", "low": 0.4, "high": 0.5}],
        "costs": {"kpod": cost},
        "compared_at": "at equal target tokens",
    }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    ending.results(path)
    ending.next_commands("0123456789abcdef", ["base", "scotd-1", "scotd", "kpod"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["kpod 61%", "stories test, 800 questions"]
    assert not any("kpod - base" in line for line in lines)  # the report has them all
    for line in (
        "kpod             KPOD: token weights and a curriculum",
        "| accuracy (95%) | stories test (800) |",
        "| kpod | 61.0% (58.0 to 64.0) |",
        "| kpod - scotd | stories test | +7.0 points | +3.0 to +11.0 | 0.001 |",
        "| kpod | 12,345 | 8 | 61.5 | 40 |  |",
        "Methods are compared at equal target tokens.",
        "  kpod compare 01234567/scotd 01234567/kpod",
        "  kpod export 01234567/kpod student/",
    ):
        assert line in lines
