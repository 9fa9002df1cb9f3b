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

FORMS = [
    " The correct option is (B).",
    " Hence 7 is the answer.",
    " So 7 is the correct answer.",
    " <answer>7</answer>",
    "\n<answer>\n7\n</answer>",
    " So the solution is 7.",
    " The correct choice is B.",
    " (B) is the correct answer.",
    " Therefore, B is the answer.",
    " So option B is correct.",
    " Hence (B) is correct.",
    " 所以答案是7。",
    "因此，答案是7。",
    "答案：7",
    "\n答案为7",
    "故选B。",
    " Por lo tanto, la respuesta es 7.",
    " La respuesta es 7.",
    " La respuesta correcta es (B).",
    " Así que la respuesta final es 7.",
    " Die Antwort ist 7.",
    " Die Antwort lautet 7.",
    " Also lautet die Antwort 7.",
    " Daher ist die Antwort 7.",
    " Antwort: 7",
    " Somit ist die richtige Antwort (B).",
    " La réponse est 7.",
    " Donc, la réponse est 7.",
    " La réponse est donc 7.",
    " La bonne réponse est (B).",
    " Réponse : 7",
    '\n{"answer": 7}',
    '\n{"answer": "7"}',
    " 7 apples is the answer.",
    " Thus, 7 would be the final answer.",
    " So we choose (B).",
    " I would choose option B.",
    " The final option is (B).",
    " So the final solution is 7.",
    " Hence, the answer is option (B) cat.",
    " Therefore seven is the answer.",
    " Thus $7$ is the answer.",
    " Thus **7** is the correct answer.",
    " The right answer is 7.",
    " The best option is B.",
    " So the most likely answer is B.",
    " The answer is therefore 7.",
    " The answer equals 7.",
    " Answer - 7",
    " Final answer - 7",
    " Therefore the answer can be stated as 7.",
    " So that the answer is 7.",
    " 答えは7です。",
    " A resposta é 7.",
    " La risposta è 7.",
    " Ответ: 7",
    " Solution: 7",
    " Hence the required answer is 7 apples.",
    " Thus our answer is: 7 apples.",
    " That is, 7 is the answer to the question.",
    " Which means the answer is 7.",
    " We conclude that the answer is 7.",
    " We get 7 as the answer.",
    " We get 7 as our final answer.",
    " 7 is our answer.",
    " [ANSWER] 7",
    " The answer is\n\n$$7$$",
    " ANSWER 7",
    " Final Answer: The final answer is $7$. I hope it is correct.",
    "\n\n### Final Answer\n\n7",
    " Hence, ans = 7",
    " Ans: 7",
    " ∴ 7 is the answer.",
    "\n---\n**Answer: 7**",
]
REASONING = [
    "The solution is 40% acid.",
    "The solution is mixed with water. So 3 + 4 = 7.",
    "A is the right angle. So 90 - 30 = 60.",
    "She says that 7 is the answer to life, and Tom adds 3.",
    "The best option is to add both: 3 + 4 = 7.",
    "The correct choice is the one with cats.",
    "We choose 2 of 5 in 10 ways.",
    "Tom will pick 3 apples.",
    "We select 7 of them.",
    "La respuesta es la suma. 3 + 4 = 7",
    "Die Antwort ist die Summe. 3 + 4 = 7",
    "So 5 is right, and 3 + 4 = 7.",
    "Tom picks option B because it costs 3.",
]


@pytest.mark.parametrize("closing", FORMS)
def test_every_usual_form_is_cut_off(closing: str) -> None:
    assert strip_closing(TOM + closing) == TOM


@pytest.mark.parametrize("text", REASONING)
def test_reasoning_in_such_words_stays(text: str) -> None:
    assert strip_closing(text) == text


def test_a_sum_that_is_called_the_answer_keeps_the_sum() -> None:
    assert strip_closing("So 3 + 4 = 7 is the answer.") == "So 3 + 4 = 7"
    assert strip_closing("3 + 4 = 7, así que la respuesta es 7.") == "3 + 4 = 7"
    assert strip_closing("3 + 4 = 7，所以答案是7。") == "3 + 4 = 7"


def test_the_statement_goes_behind_a_purpose_that_was_worked_out() -> None:
    text = "To walk 3 miles he takes 3 * 20 = 60 minutes"
    assert strip_closing(f"{text} Therefore, the answer is 60.") == text


def test_no_half_of_a_sentence_is_left() -> None:
    assert strip_closing(f"{TOM} So our first guess that Tom would have seven is correct.") == TOM
    text = "So our guess of 3 for Tom or 7 is correct."
    assert strip_closing(text) == text


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
    strip_closing(f"{piece * (100_000 // len(piece))} the answer is 5.")
