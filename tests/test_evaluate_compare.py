"""Statistics against values worked out by hand, and the paired comparison of two students."""

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod import schemas
from kpod.errors import DataError
from kpod.evaluate.compare import compare, steps_markdown
from kpod.evaluate.statistics import holm, mcnemar_exact, paired_bootstrap, wilson
from kpod.report.flips import flips_figure
from kpod.report.style import png

Z = 1.959963984540054  # 97.5% quantile of the normal distribution


def test_wilson_known_values() -> None:
    z2 = Z * Z
    assert wilson(0, 10) == (0.0, pytest.approx(z2 / (10 + z2)))  # the closed form without a success
    assert wilson(10, 10) == (pytest.approx(10 / (10 + z2)), 1.0)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)  # published tables
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    k, n = case
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))
    # The ends are where a score test is just rejected: (share - end)^2 = z^2 end (1 - end) / n.
    for end in (low, high):
        assert (k / n - end) ** 2 == pytest.approx(Z * Z * end * (1 - end) / n, abs=1e-9)


def test_mcnemar_known_values() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    assert mcnemar_exact(1, 9) == pytest.approx(2 * (1 + 10) / 1024)
    assert mcnemar_exact(9, 1) == pytest.approx(mcnemar_exact(1, 9))
    assert 0 < mcnemar_exact(4000, 5000) < 1e-20


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_sum_of_outcomes_no_likelier(b: int, c: int) -> None:
    n = b + c
    likelier = comb(n, b)
    exact = sum((Fraction(comb(n, i), 2**n) for i in range(n + 1) if comb(n, i) <= likelier), Fraction(0))
    assert mcnemar_exact(b, c) == pytest.approx(float(exact))


def test_bootstrap_holds_the_difference_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400) < 0.5, rng.random(400) < 0.6
    low, high = paired_bootstrap(a, b)
    difference = b.mean() - a.mean()
    assert low < difference < high
    # The normal interval of the mean paired difference is close at this size.
    spread = Z * np.std(b.astype(float) - a) / 20
    assert (low, high) == pytest.approx((difference - spread, difference + spread), abs=0.01)
    assert paired_bootstrap(a, b) == (low, high)
    assert paired_bootstrap(a, b, seed=1, draws=99) != paired_bootstrap(a, b, seed=2, draws=99)
    assert paired_bootstrap(b, a) == pytest.approx((-high, -low), abs=0.01)
    assert paired_bootstrap(a, a) == (0.0, 0.0)


def test_bootstrap_of_one_question_is_its_difference() -> None:
    assert paired_bootstrap(np.array([False]), np.array([True])) == (1.0, 1.0)


def test_holm_known_values() -> None:
    assert holm([]) == []
    assert holm([0.04]) == [0.04]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979: 4p, 3p, 2p, p
    assert holm([0.5, 0.6, 0.9]) == [1.0, 1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_lies_between_the_raw_value_and_bonferroni(raw: list[float]) -> None:
    corrected = holm(raw)
    assert all(p <= q <= min(1.0, len(raw) * p) + 1e-12 for p, q in zip(raw, corrected, strict=True))
    assert [q for _, q in sorted(zip(raw, corrected, strict=True))] == sorted(corrected)


def test_bootstrap_is_paired() -> None:
    a = np.arange(200) % 2 == 0
    b = a.copy()
    b[:20] = True  # 10 questions more: unpaired, chance would hide them
    low, high = paired_bootstrap(a, b)
    assert 0 < low < 0.05 < high < 0.1


def predictions(rows: list[tuple[str, bool]], **changed: Any) -> pa.Table:
    usual = {"dataset": "sums", "split": "test", "completion": "So it is.", "answer": "7", "truncated": False}
    made = [
        usual | {"question_id": name, "correct": correct, "predicted": "7" if correct else "8"} | changed
        for name, correct in rows
    ]
    return schemas.table(made, schemas.PREDICTIONS)


A = [("q1", True), ("q2", True), ("q3", False), ("q4", False), ("q5", False)]
B = [("q5", False), ("q4", True), ("q3", True), ("q2", False), ("q1", True)]  # another order


def test_pairs_are_matched_by_id() -> None:
    (one,) = compare(predictions(A), predictions(B)).sets
    assert (one.questions, one.correct_a, one.correct_b) == (5, 2, 3)
    assert [flip.question_id for flip in one.only_a] == ["q2"]
    assert [flip.question_id for flip in one.only_b] == ["q3", "q4"]
    assert (one.only_b[0].predicted_a, one.only_b[0].predicted_b, one.only_b[0].answer) == ("8", "7", "7")
    assert one.p_value == 1.0
    assert one.low <= 0.2 <= one.high


def test_sets_are_compared_one_by_one() -> None:
    both = [pa.concat_tables([predictions(A), predictions(rows, dataset="other")]) for rows in (A, B)]
    first, second = compare(*both).sets
    assert (first.dataset, first.only_a, first.only_b, first.p_value) == ("sums", (), (), 1.0)
    assert (second.dataset, len(second.only_b)) == ("other", 2)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (predictions(A), predictions(B[:4]), "1 only in A, 0 only in B"),
        (predictions(A), predictions(B, split="validation"), "5 only in A, 5 only in B"),
        (predictions(A), predictions(B, dataset="other"), "did not answer the same questions"),
        (predictions([]), predictions([]), "neither run has an answer"),
        (predictions(A), predictions(B, answer="8"), "5 questions have another gold answer in B"),
        (predictions([*A, A[0]]), predictions(B), "A holds 1 questions twice"),
        (predictions(A), predictions([*B, B[0], B[1]]), "B holds 2 questions twice"),
    ],
)
def test_different_sets_are_refused(a: pa.Table, b: pa.Table, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        compare(a, b)
    assert "\n" not in str(caught.value)


def test_markdown_shows_the_figures_and_what_flipped() -> None:
    many = [(f"q{i:02d}", i < 20) for i in range(40)]
    other = [(name, i >= 15) for i, (name, _) in enumerate(many)]
    text = compare(
        predictions(many, completion="a | b\n" + "x" * 900), predictions(other, completion="B says.")
    ).to_markdown()
    table = [line for line in text.split("\n") if line.startswith("|")]
    assert [line.count("|") for line in table] == [10, 10, 10]
    assert "| sums test | 40 | 50.0% | 62.5% | +12.5 |" in table[2]
    assert table[2].endswith("| 15 | 20 |")
    assert "only A is right** (15, the first 3)" in text
    assert "- `q00`, gold 7" in text
    assert "- `q20`, gold 7" in text
    assert "A said 7: ... x" in text
    assert "B said 8: B says." in text
    assert max(map(len, text.split("\n"))) < 400


def test_markdown_without_flips_is_the_table_alone() -> None:
    assert len(compare(predictions(A), predictions(A)).to_markdown().split("\n")) == 3


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_counts_agree_whatever_the_answers(pairs: list[tuple[bool, bool]]) -> None:
    a = predictions([(str(i), x) for i, (x, _) in enumerate(pairs)])
    b = predictions([(str(i), y) for i, (_, y) in enumerate(pairs)])
    (one,) = compare(a, b).sets
    assert one.correct_b - one.correct_a == len(one.only_b) - len(one.only_a)
    assert one.low - 1e-9 <= one.accuracy_b - one.accuracy_a <= one.high + 1e-9
    back = compare(b, a).sets[0]
    assert [f.question_id for f in back.only_a] == [f.question_id for f in one.only_b]
    assert back.p_value == one.p_value


def test_a_prediction_of_ten_thousand_digits_is_shown_short() -> None:
    a = predictions([("q1", True)])
    b = predictions([("q1", False)], predicted="7" * 10_000)
    assert max(map(len, compare(a, b).to_markdown().split("\n"))) < 800


STEPS = [
    {str(n): {"questions": 9, "accuracy": n / 10, "low": 0.0, "high": 1.0} for n in counts}
    for counts in ((2, 3), (3, 4))
]


def test_steps_that_both_were_asked_stand_side_by_side() -> None:
    assert steps_markdown(*STEPS).split("\n")[2:] == ["| 3 | 9 | 30.0% | 30.0% |"]
    assert steps_markdown(STEPS[0], {}) == ""


def test_the_picture_of_flips_holds_every_set_with_and_without_steps() -> None:
    sets = [pa.concat_tables([predictions(A), predictions(rows, dataset="other")]) for rows in (A, B)]
    plain, stepped = flips_figure(compare(*sets), {}, {}), flips_figure(compare(*sets), *STEPS)
    assert [text.get_text() for text in plain.axes[0].get_yticklabels()] == ["sums test", "other test"]
    widths = [bar.get_width() for bar in plain.axes[0].patches]
    assert sum(widths) == pytest.approx(2.0)  # each set's bar is whole
    assert (len(plain.axes), len(stepped.axes)) == (1, 2)
    assert png(stepped) == png(flips_figure(compare(*sets), *STEPS))
