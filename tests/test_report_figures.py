import io
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from report_sample import METHODS, accuracy_rows, full_report, history, hostile_report, validation

from kpod import schemas
from kpod.evaluate.accuracy import Accuracy
from kpod.report import curriculum as pictures
from kpod.report.results import accuracy_bars, learning_curves, running_mean, validation_curves
from kpod.report.style import PALETTE, png

DATA = full_report(60)


def shuffled(table: pa.Table) -> pa.Table:
    return table.take(np.random.default_rng(5).permutation(len(table)))


def test_target_and_reached_come_from_the_metadata():
    figure = pictures.target_and_reached(DATA.curriculum)
    facts = pictures.stage_facts(DATA.curriculum)
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [fact["reached"] for fact in facts]
    assert list(axes.lines[0].get_ydata()) == [fact["target"] for fact in facts]


def test_share_of_whole_rationales():
    figure = pictures.full_generation(shuffled(DATA.curriculum))
    rows = DATA.curriculum.to_pylist()
    expected = [np.mean([row["input_steps"] == 0 for row in rows if row["stage"] == stage]) for stage in range(8)]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), expected)
    assert expected[-1] == 1.0


def test_heat_map_counts_generated_steps_by_stage():
    figure = pictures.generated_steps(shuffled(DATA.curriculum), shuffled(DATA.difficulty))
    lengths = Counter(row["question_id"] for row in DATA.difficulty.to_pylist())
    rows = DATA.curriculum.to_pylist()
    counts = Counter((lengths[row["question_id"]] - row["input_steps"], row["stage"]) for row in rows)
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (4, 8)
    for (generated, stage), count in counts.items():
        assert image[generated - 1, stage] == pytest.approx(count / 60)
    np.testing.assert_allclose(image.sum(axis=0), 1.0)


def test_difficulty_boxes_are_the_quantiles_of_each_step():
    figure = pictures.difficulty_by_step(shuffled(DATA.difficulty))
    rows = DATA.difficulty.to_pylist()
    medians = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linewidth() == 2]
    expected = [np.median([row["difficulty"] for row in rows if row["step"] == step]) for step in range(4)]
    np.testing.assert_allclose(medians, expected, rtol=1e-6)


def test_cluster_shares_of_each_stage_sum_to_one():
    figure = pictures.cluster_balance(shuffled(DATA.curriculum), shuffled(DATA.clusters))
    clusters = {row["question_id"]: row["cluster"] for row in DATA.clusters.to_pylist()}
    rows = [row for row in DATA.curriculum.to_pylist() if row["selected"]]
    stages = sorted({row["stage"] for row in rows})
    bars = [[bar.get_height() for bar in group] for group in figure.axes[0].containers]
    np.testing.assert_allclose(np.sum(bars, axis=0), 1.0)
    for group, heights in enumerate(bars):
        assert heights[0] == pytest.approx(np.mean([c == group for c in clusters.values()]))
        for stage, height in zip(stages, heights[1:], strict=True):
            chosen = [clusters[row["question_id"]] == group for row in rows if row["stage"] == stage]
            assert height == pytest.approx(np.mean(chosen))


def test_long_rationales_share_the_last_row():
    rows = [{"question_id": "q", "sample": 0, "step": k, "difficulty": 1.0, "tokens": 5} for k in range(40)]
    figure = pictures.difficulty_by_step(schemas.table(rows, schemas.DIFFICULTY))
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()][-1] == "12+"


@pytest.mark.filterwarnings("error")
def test_a_folder_of_pictures_that_decode_and_repeat(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pictures.write_curriculum_figures(DATA.curriculum, DATA.difficulty, DATA.clusters, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "cluster-balance.png",
        "difficulty-by-step.png",
        "full-generation.png",
        "generated-steps.png",
        "target-and-reached.png",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Image.open(tmp_path / "a" / name) as image:
            image.load()
            assert image.width == 1040


def test_pictures_without_data_are_left_out():
    assert pictures.curriculum_figures(None, None, None) == {}
    bare = DATA.curriculum.replace_schema_metadata(None)
    assert set(pictures.curriculum_figures(bare, None, None)) == {"full-generation"}
    nobody = bare.set_column(4, "selected", pa.array([False] * len(bare)))
    assert "cluster-balance" not in pictures.curriculum_figures(nobody, DATA.difficulty, DATA.clusters)
    assert pictures.curriculum_figures(bare.slice(0, 0), DATA.difficulty.slice(0, 0), DATA.clusters) == {}


def test_accuracy_bars_and_intervals():
    rows = accuracy_rows(dict(DATA.predictions))
    figure = accuracy_bars(rows)
    assert len(figure.axes) == 2
    shown = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert shown == pytest.approx([row.accuracy for row in rows])
    ends = [
        tuple(segment[:, 0]) for axes in figure.axes for bars in axes.collections for segment in bars.get_segments()
    ]
    np.testing.assert_allclose(ends, [(row.low, row.high) for row in rows])


@pytest.mark.filterwarnings("error")
def test_extreme_results_and_hostile_names_are_drawn():
    none = Accuracy("_none $a_b$", "你好 $", "test", 10, 0, 0.0, 0.28, 1.0, 1.0)
    full = Accuracy("all", "你好 $", "test", 10, 10, 0.72, 1.0, 0.0, 0.0)
    empty = Accuracy("nothing", "empty", "test", 0, 0, 0.0, 1.0, 0.0, 0.0)
    with Image.open(io.BytesIO(png(accuracy_bars([none, full, empty])))) as image:
        image.load()
    data = hostile_report(6)
    png(accuracy_bars(data.accuracy))
    png(learning_curves(data.histories))


def test_curves_run_over_target_tokens_in_the_method_s_colour():
    curves = {"scotd": history(1, 300), "kpod": history(2, 200)}
    (axes,) = learning_curves(curves, METHODS).axes
    smooth = [line for line in axes.lines if line.get_linewidth() == 2]
    assert [line.get_color() for line in smooth] == [PALETTE[1], PALETTE[3]]
    for line, table in zip(smooth, curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), table["tokens"].to_numpy())


def test_validation_accuracy_runs_over_target_tokens_and_the_kept_epoch_is_ringed():
    (axes,) = validation_curves({"kpod": validation(0), "scotd": validation(1)}, METHODS).axes
    curve, ring = axes.lines[:2]
    assert list(zip(curve.get_xdata(), curve.get_ydata(), strict=True)) == [
        (9_000, 0.05), (18_000, 0.2), (27_000, 0.42), (36_000, 0.4)
    ]  # fmt: skip
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([27_000], [0.42])
    assert curve.get_color() == PALETTE[3]


def test_running_mean_leaves_nan_out():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    np.testing.assert_allclose(running_mean(values, 2), [1.0, 1.0, 3.0, 4.0])
    assert np.isnan(running_mean(np.array([np.nan]), 3)).all()
