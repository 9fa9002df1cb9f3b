"""What closes a rationale with the answer, and what only looks like it: the written cases, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod.answers.closings import strip_closing

TOM = "Tom has 3 + 4 = 7 apples."
CASES = [
    (f"{TOM} The answer is 7.", TOM),
    (f"{TOM} So, the answer is 7", TOM),
    (f"{TOM}\nTherefore, the answer is 7.\n", TOM),
    (f"{TOM}\n\n**Answer:** 7 apples", TOM),
    (f"{TOM}\nAnswer:\n7", TOM),
    (f"{TOM}\nThe final answer is **7**.", TOM),
    (f"{TOM}\n#### 7", TOM),
    (f"{TOM}\n$\\boxed{{7}}$", TOM),
    (f"{TOM} Hence the correct answer is (B).", TOM),
    (f"{TOM} So the final answer is 7. Therefore, the answer is 7.", TOM),
    ("3 + 4 = 7\n#### 7", "3 + 4 = 7"),
    ("3 + 4 = 7, ANSWER: \\boxed{7}.", "3 + 4 = 7"),
    ("As a result, the answer is 7.", ""),
    ("The answer is 7.", ""),
    ("", ""),
    # in fewer words or more
    *((f"{TOM}{closing}", TOM) for closing in (
        "\n**Answer**: 7", "\n**Final Answer**: 7", " Therefore, answer is 7.", " So answer is 7.", "\nAnswer is 7",
        " The answer, therefore, is 7.", " The answer in apples is 7.", " The answer for the question is 7.",
        " The answer of the question is 7.", " The answer we get is 7.", " The answer choice is (B).",
        " Thus, the best answer choice is (B).", " The correct answer option is (B).", "\nAnswer (in dollars): 7",
        "\nAnswer in dollars: $7.00", " The answer comes out to be: 7", "\n\\[\\boxed{7}\\]", "\n\\(\\boxed{7}\\)",
        " Answer is $\\boxed{7 \\text{ coins}}$.", "\n## Answer\n7", "\n#### Final answer\n7 apples",
        " The answer will be 7.", " So the answer should be (B).", " The answer would be C.",
        " The answer must be seven.", " The answer would be approximately 7.",
    )),
    # something behind it
    (f"{TOM} The answer is 7. I hope this helps!", TOM),
    (f"{TOM}\nThe answer is 7.\n\nA:", TOM),
    (f"{TOM} The answer is 7. Tom has 7.", TOM),
    (f"{TOM} Therefore, the answer should be 7.", TOM),
    # a clause of a sentence that says more
    ("3 + 4 = 7, so the answer is 7.", "3 + 4 = 7"),
    ("3 + 4 = 7 and therefore the final answer is 7.5.", "3 + 4 = 7"),
    ("Tom has 7. As 7 is the sum of both of them, the answer is 7.", "Tom has 7. As 7 is the sum of both of them"),
    # nothing closes these
    *((text, text) for text in (
        TOM,
        "Therefore, Tom has 7 apples.",
        "It costs $3.50 in all.",
        "Her answer is a smile. She has 3 + 4 = 7 pens.",
        "The questions Steve can answer are 7.",
        "The answer is 8? No. 3 + 4 = 7.",
        "The answer is the sum of both. 3 + 4 = 7 apples.",
        "To find what the answer is, we add. 3 + 4 = 7",
        "3 + 4 = \\boxed{7}",
        "The answer must be a place for cats. Of the above choices, only a sofa is one.",
        "We cannot find the answer to this question.",
        "The answer must be one that has to do with cats.",
        "Tom has 3. To get the answer: we add three to four, which gives seven.",
        "To solve, the answer is: first add 3 + 4 = 7. then 7.",
        "#### Step 1: Add 3 and 4.\n3 + 4 = 7\n#### Step 2: Sum them up.\nTom has 7.",
        "The answer is not told, so we look for it. " + "Tom looks at the apples and at the pears. " * 3,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("text", "left"), CASES)
def test_a_closing_statement_of_the_answer_is_cut_off(text: str, left: str) -> None:
    assert strip_closing(text) == left.rstrip()


@given(st.text(max_size=600))
def test_what_is_left_is_a_start_of_the_text(text: str) -> None:
    assert text.startswith(strip_closing(text))


@given(st.lists(st.sampled_from(["Tom has 3 + 4 = 7 apples.", "It is sunny.", "Dr. Lee pays $3.50."]), max_size=4))
def test_stripping_undoes_the_template(sentences: list[str]) -> None:
    rationale = " ".join(sentences)
    assert strip_closing(f"{rationale} Therefore, the answer is 7.") == rationale


@pytest.mark.timeout(60)  # seconds; quadratic matching takes minutes on these
@pytest.mark.parametrize("piece", ["1 + ", " ", "answer to ", "the answer is ", "so ", "the answer is 5. "])
def test_long_texts_cost_linear_time(piece: str) -> None:
    strip_closing(f"{piece * (400_000 // len(piece))} the answer is 5.")
