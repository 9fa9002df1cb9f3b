"""Where the default rule and the literal rule cut. `¦` marks the expected cuts."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kpod.steps.cutting import spans, split
from kpod.text.offsets import token_steps

CASES = [
    # sentences
    "Tom has 3 apples.¦ He eats 1.¦ So 2 are left.",
    "Is it enough?¦ Yes!¦ Then we stop.",
    "He runs.¦ then he walks.",
    "What?!¦ That is wrong.",
    "Wow!!!¦ Next one.",
    "No stop at the end",
    "One sentence.",
    "Two spaces.¦  Next.",
    "A tab.¦\tNext.",
    'She said "go."¦ Then she left.',
    '"How many are left?" he asked.¦ Three.',
    "(He has 5.)¦ Then he buys 2.",
    "He ate some (apples, pears, etc.) and left.",
    "**So 5 remain.**¦ Next, add 2.",
    # decimals and money
    "It costs $3.50.¦ He pays $10.",
    "It costs $3.¦ Then he pays.",
    "3.5 + 2.25 = 5.75.¦ Done.",
    "A quarter is .25 of it.¦ Half is .5.",
    "He pays 1,250.75 euros.¦ She pays 99¢.",
    "Version 1.2.3 is out.¦ Good.",
    "The rate is 4.5%.¦ Multiply.",
    "Pi is 3.14159.¦ Use it.",
    # abbreviations
    "Mr. Lee and Mrs. Kim met Dr. Ray.¦ They talked.",
    "Use a fruit, e.g. an apple.¦ Or two, i.e. a pair.",
    "Apples, pears, etc. are fruit.",
    "Buy apples, pears, etc.¦ Then pay.",
    "The rope is 5 ft. long.¦ Cut it.",
    "It is 5 ft. 6 in. tall.¦ It fits.",
    "The rope is 6 ft.¦ The other is 4 ft.",
    "He put the coin in.¦ then he left.",
    "At 7 a.m. the bus leaves.¦ At 9 p.m. it returns.",
    "The bus leaves at 7 a.m.¦ The train leaves at 8.",
    "It weighs 10 lbs. in all.¦ Add 2 oz. of salt.",
    "The area is 80 sq. ft. in total.",
    "On Jan. 5 he had 3.¦ On Feb. 5 he had 6.",
    "See No. 5 and fig. 2.¦ Ours is no. 7.",
    "Are there more?¦ No.¦ So we stop.",
    "No. of boxes = 3",
    "It is approx. 5 m.¦ Round it.",
    "Cats vs. dogs: 3 to 5.",
    "The U.S. team won.¦ It was in the U.S.¦ Then they left.",
    "John F. Smith has 3.¦ J. T. Cole has 4.",
    "Coach B. brought 5 balls.",
    "The answer is option B.¦ Because it is larger.",
    "Take point A.¦ Then take point B.",
    "Ms. Ray of St. Mary School has 4.",
    # list markers
    "1. Add 3 and 4.¦ 2. Multiply by 2.¦ 3. Stop.",
    "1. Add.¦\n2. Multiply.¦\n\n3. Stop.",
    "1.\nAdd 3 and 4.¦\n2.\nMultiply.",
    "1) Add 3.¦\n2) Add 4.",
    "a. Add 3.¦\nb. Add 4.",
    "(a) Add 3.¦ (b) Add 4.",
    "i. Add.¦\nii. Multiply.",
    "1.1. Add.¦ 1.2. Multiply.",
    "Step 1. Add 3.¦ Step 2. Add 4.",
    "**Step 1:** Add 3.¦\n**Step 2:** Add 4.",
    "- Add 3¦\n- Add 4",
    "The sum is 12.¦ Now divide.",
    "So: 5.¦ Then 6.",
    # ellipses
    "Hmm... let me think.¦ Yes.",
    "1, 2, 3, ... and so on.¦ Stop.",
    "One, two, … ten.¦ Stop.",
    "The set {2, 4, . . . , 20} has 10.¦ Good.",
    "It is 0.333... so a third.",
    "Really...?¦ Yes.",
    # new lines
    "First line¦\nSecond line",
    "First.¦\n\n\nSecond.",
    "First.  ¦\nSecond.".replace("  ¦", "¦  "),
    "Windows.¦\r\nLines.",
    "\n\nStarts late.¦\nEnds late.\n\n",
    "3 + 4¦\n= 7",
    "Add:¦\n3 + 4 = 7",
    "Column:¦\n 12¦\n+ 9\n----¦\n 21",
    # formulas
    "5! = 120.¦ There are 5! ways.",
    "Then n! / k! is it.¦ Good!¦ Next.",
    "3 + ? = 8.¦ So ? = 5.",
    "Is x < 5?¦ Yes.",
    "2 * (3 + 4.5) = 15.¦ Halve it.",
    "\\[ x = 5. \\]¦\nSo $x = 5.$¦ Done.",
    "x = 3. + 2. = 5.¦ Done.",
    "f(x) = x^2.¦ f(3) = 9.",
    # other scripts
    "他有三个苹果。¦他吃了一个。¦还剩几个？¦两个！",
    "彼は「はい。」¦と言った。",
    "कुल पाँच हैं।¦ दो और मिले।",
    "كم بقي؟¦ بقي ثلاثة.",
    "Сколько осталось?¦ Осталось 3,5 кг.",
    "¿Cuántos quedan?¦ ¡Tres!",
    "Il reste 3,5 kg.¦ C'est tout.",
    "値は３．５です。¦終わり。",
    # list markers behind a number with a unit, in bold, inside a sentence
    "1. The bag weighs 3.5 kg.¦ 2. He takes out 1 kg.",
    "Each box weighs 12 kg.¦ 3 bags hold 36 kg.",
    "**1.** The bag weighs 3.5 kg.¦ **2.** He takes out 1 kg.",
    "Ann ate 1. a pizza, 2. a pie",
    "Ann ate 1. a pizza, 2. a pie.¦ Then she slept.",
    "\\[ 2x = 1. \\]¦ So x is a half.",
    "So $$19 + 6 = 25.$$¦ Next, $$a = 1. b = 2.$$¦\n\nThen stop.",
    "\\( 2x = 1. \\)¦ So x is a half.",
    "$$ 2x = 1. $$¦ So x is a half.",
    "He has 5.¦ $$ 2x = 1 $$ So",
    "1. It costs $3.50.¦ 2. He pays $10.",
    "1. The sum is 3.5.¦ 2. Add 1.",
    "1) The rope is 4 ft.¦ 2) Cut it.",
    "The rope is 4 ft.¦ (b) Cut it.",
    "a. The rope is 4 ft.¦ b. Cut it.",
    "It is 5 ft. 6 in. tall.¦ It fits.",
    "He waits 2 hr. 30 min. there.",
    "It weighs 3 lb. 4 oz. in all.",
    "At 9 p.m. 3 people leave.",
    "The bus leaves at 7 a.m.¦ 3 people get on.",
    "1.) Add 3.¦ 2.) Multiply by 2.",
    "**Step 1.** Add 3.¦ **Step 2.** Multiply.",
    "Do: 1. Add 3 and 4.¦ 2. Multiply by 2.",
    "There are two parts: 1. the red one, 2. the blue one, and 3. the green one.¦ Add.",
    "He ate 1.¦ Then he ate 2.¦ Now 3 are left.",
    "So: 5.¦ Then 6.",
    "She bought 1. A pizza, 2. A pie, 3. A cake.",
    "Buy apples, etc.¦ 3 of them are red.",
    "He has 5 min.¦ 3 others have 6 min.",
    "See No. 5 and max. 3 of approx. 7.",
    "On Jan. 5 he had 3.¦ On Feb. 5 he had 6.",
    "The area is 80 sq. ft. 6 in. wide",
    "__1.__ Add 3.¦ __2.__ Multiply.",
    "- **1.** Add 3.¦\n- **2.** Multiply.",
    "### 1. Add 3.¦\n### 2. Multiply.",
    "First 1. add 3, then 2. multiply by 2.",
    "Items: (1.) a pen, (2.) a book.",
    "Items: a. a pen, b. a book.",
    "Tom has 3 kg.¦ 4 kg are left.",
    "He ran 5 km.¦ 2 hours later he slept.",
    "It takes 5 sec.¦ 10 more follow.",
    "He rose at 6 a.m.¦ 2. He ate.",
    "She lives in St. 5 and weighs 10 lbs.¦ 2 dogs bark.",
    "\\[\nx = 1.\n\\]¦\nSo x is 1.",
    "So \\boxed{5.}¦ Next",
    "Total: 5 kg. = 5000 g.",
    "\\begin{align} x = 1. \\end{align}¦ So x is 1.",
    "1. 3.5 kg.¦ 2. 4 kg.¦ 3. 5 kg.",
    "*1.* Add 3.¦ *2.* Stop.",
    "No. 1. Add 3.¦ No. 2. Stop.",
    "The rope is 5 m. long.¦ It takes 3 min. 20 s. in all.",
    "\\[ x = 1.\n\\]¦ So it is.",
    "\\[\n2x = 1.\n\\]¦ So it is.",
    "\\[ x = 1\n\\] So it is.",
    "$$\nx = 1.\n$$¦ So it is.",
    "\\begin{align}¦\nx &= 1.\n\\end{align}¦ So it is.",
    "Take \\( x = 1. \\), then stop.",
    "It costs $$5.¦\n\nSo:¦\n\n$$ x = 1. y = 2. $$¦ Then stop.",
    # from other splitters' bug reports
    "The no. is 5.¦ See no. 7 too.",
    "»Er ist 3.«¦ Das war gut.",
    "„Er ist 3.“¦ Das war gut.",
    "She is an M.D.: an oncologist.¦ It was the Ph.D.'s duty.",
    "Play it (feat. L. Doe) (prod. by Joe).¦ Then stop.",
    # only signs
    "???",
    "Good. :)",
    "So 5.¦ 😀 Then 6.",
]


@pytest.mark.parametrize("marked", CASES)
def test_default_rule(marked: str) -> None:
    assert split(marked.replace("¦", "")) == marked.split("¦")


@pytest.mark.parametrize(
    "marked",
    [
        "Tom has 3.¦50 dollars.¦ He has e.¦g.¦ more.",
        "1.¦ Add.¦\n2.¦ Multiply",
        "Hmm...¦ Yes.",
        "Is it?! Yes.¦ Good",
        "First line\nsecond line.  ",
        "...",
    ],
)
def test_literal_rule_cuts_at_every_full_stop(marked: str) -> None:
    assert split(marked.replace("¦", ""), "literal") == marked.split("¦")


def test_the_table_is_large_enough() -> None:
    assert len(set(CASES)) >= 60


def test_nothing_and_white_space() -> None:
    assert split("") == split("", "literal") == []
    assert split(" \n\t") == split(" \n\t", "literal") == [" \n\t"]


# Texts made of the pieces that the rules look at find more than uniformly random characters do.
MORE = r"\] \[ $$ kg 2. b,"
WORDS = '1 12 3.5 $ e.g Mr p.m U.S A x in etc He then . ! ? ... … ) ( " ” * = + - 。 ！ 」 । é 😀 № \u0301 _'
pieces = st.sampled_from([*WORDS.split(" "), *MORE.split(), " ", "  ", "\n", "\r\n", "\u2028"])
texts = st.one_of(st.text(), st.lists(pieces, max_size=25).map("".join))


@given(texts, st.sampled_from(["default", "literal"]))
@example("\x85", "default")
@example(".\n.\n.", "default")
def test_steps_tile_the_text(text: str, rule: str) -> None:
    parts = split(text, rule)  # type: ignore[arg-type]
    assert "".join(parts) == text
    assert all(parts)


@given(texts)
def test_every_step_has_content_where_the_text_has(text: str) -> None:
    if any(character.isalnum() for character in text):
        assert all(any(character.isalnum() for character in part) for part in split(text))


@given(texts)
def test_no_step_reaches_over_a_sentence_and_a_new_line(text: str) -> None:
    for part in split(f"Word {text} word.\nNext one"):
        assert "word.\nNext" not in part


UNITS = [
    ".",
    " ",
    "\n",
    ". ",
    " .",
    ".\n",
    "! ",
    "A. ",
    "1.\n",
    "a.)",
    "。 ",
    "e.g. ",
    "5 kg. ",
    "$$ 1. ",
    "\\[ ",
    "1. \\] ",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("begin", ["", "\\[ 1. a, 2. "])
def test_a_long_text_takes_linear_time(unit: str, begin: str) -> None:
    """A quadratic search would take many minutes here."""
    text = f"Start. {begin}{unit * 15_000}x {(begin + unit) * 15_000} end."
    for rule in ("default", "literal"):
        assert "".join(split(text, rule)) == text  # type: ignore[arg-type]


def test_spans_tile() -> None:
    parts = ["Ab.", " C", "\nd"]
    assert spans(parts).tolist() == [[0, 3], [3, 5], [5, 7]]
    assert spans([]).shape == (0, 2)


def test_a_token_belongs_to_the_step_in_which_it_starts() -> None:
    # "Ab. Cd." with tokens "Ab", ". C" (over the border), "d", ".", and one behind the text
    offsets = np.array([[0, 2], [2, 5], [5, 6], [6, 7], [7, 9]])
    [found] = token_steps([offsets], [spans(split("Ab. Cd."))])
    assert found.dtype.name == "int32"
    assert found.tolist() == [0, 0, 1, 1, 1]


def test_tokens_may_overlap_leave_holes_or_be_missing() -> None:
    bounds = [(2, 4), (4, 9)]  # the text's first two characters belong to no step
    some = np.array([[0, 1], [2, 3], [2, 3], [8, 9]])
    none = np.zeros((0, 2), int)
    found = token_steps([some, none, some, none, some], [bounds, bounds, [], [], bounds])
    assert [row.tolist() for row in found] == [[-1, 0, 0, 1], [], [-1] * 4, [], [-1, 0, 0, 1]]
    assert token_steps([], []) == []


texts_in_parts = st.lists(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6), max_size=5)


@given(texts_in_parts, st.data())
def test_token_steps_equal_a_search_by_hand(parts: list[list[str]], data: st.DataObject) -> None:
    """All rationales together, each token searched alone."""
    bounds = [spans(one) for one in parts]
    starts = [sorted(data.draw(st.lists(st.integers(0, int(one[-1, 1]) - 1)))) for one in bounds]
    expected = [
        [next(k for k, (a, b) in enumerate(one) if a <= s < b) for s in some]
        for one, some in zip(bounds, starts, strict=True)
    ]
    tokens = [np.array([[s, s + 1] for s in some], dtype=int).reshape(-1, 2) for some in starts]
    assert [row.tolist() for row in token_steps(tokens, bounds)] == expected


def test_another_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule lines"):
        split("One. Two.", "lines")  # type: ignore[arg-type]
