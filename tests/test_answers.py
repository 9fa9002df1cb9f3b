"""Answer extraction and equality: the written cases, and properties over any text."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod.evaluate import answers_equal, extract_answer

BIG = "7" * 10_000

EXTRACT = [
    # after "the answer is"
    ("Therefore, the answer is 42.", "42"),
    ("The answer is 42", "42"),
    ("the answer is: 42.", "42"),
    ("THE ANSWER IS 42!", "42"),
    ("So the final answer is 42.", "42"),
    ("The correct answer is 42.", "42"),
    ("Answer: 42", "42"),
    ("#### Step 1: add.\n3 + 4 = 7", "7"),
    ("#### 42", "42"),
    ("#### **-42**", "-42"),
    ("3 + 4 = 7. That was the answer to this question.", "7"),
    ("The answer to the question is 42.", "42"),
    ("The answer would be 42.", "42"),
    ("The answer is\n42", "42"),
    ("Tom has 3 + 4 = 7 apples. Therefore, the answer is 7.", "7"),
    ("The answer is 7. That took 3 steps.", "7"),
    ("The answer is 42...", "42"),
    ("The answer is 42.0.", "42.0"),
    ("The answer is **42**.", "42"),
    ("The answer is \\boxed{42}.", "42"),
    ("Thus \\boxed{42} apples fill 3 bags.", "42"),
    ("The answer is $42$.", "42"),
    ("#### 42", "42"),
    ('The answer is "42".', "42"),
    ("The answer is (42).", "42"),
    ("The answer is 42.\nQ: How many pens are 3 pens? A: The answer is 3.", "42"),
    ("The answer is 42. Q: And 5?", "42"),
    ("The best answer is 42.", "42"),
    ("We doubt the answer: 42", "42"),
    ("Steve can answer is 45 - 38 = 7 of them, and 2 not.", "2"),
    # words around
    ("The answer is 42 apples.", "42"),
    ("The answer is exactly 42 red apples.", "42"),
    ("The answer is about 42.", "42"),
    ("The answer is that Tom has 42 apples.", "42"),
    ("The answer is that after 3 days Tom has 42 apples.", "42"),
    ("The answer is 42 because 50 - 8 = 42 and 8 were lost.", "42"),
    ("The answer is 42, as 8 of the 50 were lost.", "42"),
    ("The answer is 42 (8 less than 50).", "42"),
    ("The answer is x = 42.", "42"),
    ("The answer is 5 + 3 = 8.", "8"),
    ("The answer is 5 apples + 3 apples = 8 apples.", "8"),
    ("The answer is (5 + 3) x 2 = 16 apples.", "16"),
    ("The answer is 3x4=12.", "12"),
    ("The answer is $5 per hour x 3 hours = $15.", "15"),
    ("The answer is twelve.", "12"),
    ("The answer is twenty-one apples.", "21"),
    ("The answer is minus two.", "-2"),
    ("The answer is one hundred and five.", "105"),
    ("The answer is 12th.", "12"),
    # signs, thousands, decimals, fractions, percent, currency, units
    ("The answer is -7.", "-7"),
    ("The answer is −7.", "-7"),
    ("The answer is - 7.", "-7"),
    ("The answer is negative 7.", "-7"),
    ("The answer is +7.", "7"),
    ("The answer is -$7.", "-7"),
    ("The answer is $-7.", "-7"),
    ("The answer is 1,234.", "1234"),
    ("The answer is 1,234,567.89 dollars.", "1234567.89"),
    ("The answer is 12 000.", "12000"),
    ("The answer is 12\u202f000.", "12000"),
    ("The answer is 1{,}234.", "1234"),
    ("The answer is 3.50.", "3.50"),
    ("The answer is .5.", ".5"),
    ("The answer is 3/4.", "3/4"),
    ("The answer is 3 / 4.", "3/4"),
    ("The answer is 2 1/2 cups.", "2 1/2"),
    ("The answer is ½.", "1/2"),
    ("The answer is 2½ cups.", "2 1/2"),
    ("The answer is $\\frac{3}{4}$.", "3/4"),
    ("The answer is 50%.", "50%"),
    ("The answer is 50 percent.", "50%"),
    ("The answer is 50\\%.", "50%"),
    ("The answer is $1,234.50.", "1234.50"),
    ("The answer is US$ 20.", "20"),
    ("The answer is 20€.", "20"),
    ("The answer is 20 dollars and 5 cents.", "20.05"),
    ("The answer is 5kg.", "5"),
    ("The answer is 5 km/h.", "5"),
    ("The answer is 2 million people.", "2000000"),
    ("The answer is 1.2 x 10^5.", "120000"),
    ("The answer is 1.5e3.", "1500"),
    ("The answer is 3 dozen.", "36"),
    # signs, parts, powers and roots
    ("The answer is $-\\frac{3}{4}$.", "-3/4"),
    ("The answer is -½.", "-1/2"),
    ("The answer is 2\\frac{1}{2}.", "2 1/2"),
    ("The answer is 3 and a half.", "3 1/2"),
    ("The answer is 2 and a quarter miles.", "2 1/4"),
    ("The answer is two thirds.", "2/3"),
    ("The answer is 1'000.", "1000"),
    ("The answer is 1_000.", "1000"),
    ("The answer is 5**2.", "5^2"),
    ("The answer is 5 ** 2 = 25.", "25"),
    ("The answer is 2^{10} = 1024.", "1024"),
    ("The answer is **5** apples.", "5"),
    ("The answer is sqrt(5).", "sqrt(5)"),
    ("The answer is √5.", "√5"),
    ("The answer is sqrt(25) = 5.", "5"),
    ("The answer is 5 plus 3 equals 8.", "8"),
    ("The answer is 5 times 2.", "5 x 2"),
    # what states no single number
    ("The answer is obviously not 5.", "obviously not 5"),
    ("The answer is no more than 5.", "no more than 5"),
    ("The answer is at least 5.", "at least 5"),
    ("The answer is half of 10.", "half of 10"),
    ("The answer is twice 5.", "twice 5"),
    ("The answer is either 5 or 6.", "either 5 or 6"),
    ("The answer is 5, 6.", "5, 6"),
    ("The answer is 5; 6.", "5; 6"),
    # several answers
    ("The answer is 3. No, wait. The answer is 4.", "4"),
    ("The answer is 1/2 or 0.5.", "1/2"),
    ("The answer is 5 or 6.", "5 or 6"),
    ("The answer is 5 and 6.", "5 and 6"),
    ("The answer is 5 apples and 3 pears.", "5 apples and 3 pears"),
    ("The answer is 3 hours 20 minutes.", "3 hours 20 minutes"),
    ("The answer is 5 dollars 20 cents.", "5.2"),
    ("The answer is 5-6.", "5-6"),
    ("The answer is 5 to 6.", "5 to 6"),
    ("The answer is between 5 and 6.", "between 5 and 6"),
    ("The answer is not 5.", "not 5"),
    ("The answer is 3 + 4.", "3 + 4"),
    # no number
    ("The answer is Paris.", "Paris"),
    ("The answer is yes.", "yes"),
    ("The answer is 3:2.", "3:2"),
    ("The answer is 1,23.", "1,23"),
    ("The answer is 2^10.", "2^10"),
    ("The answer is A12.", "A12"),
    # nothing stated: the last number
    ("Tom has 3 + 4 = 7 apples.", "7"),
    ("Tom has 3 apples, then 1,200.", "1200"),
    ("He is left with $-3.50.", "-3.50"),
    ("That leaves 10-7", "7"),
    ("It drops to -7 degrees.", "-7"),
    ("In all 42.", "42"),
    ("He eats 25% of them.", "25%"),
    ("5 + 3 = 8. Therefore, the answer is", "8"),
    ("", None),
    ("   \n", None),
    ("I do not know.", None),
    ("The answer is", None),
    ("Room B12 and A3.5", None),
]

OPTIONS = ["ignore", "enforce", "yell at", "science", "science fiction"]
CHOOSE = [
    ("The answer is B.", "B"),
    ("The answer is (B).", "B"),
    ("The answer is (b).", "B"),
    ("The answer is b", "B"),
    ("The answer is **B**.", "B"),
    ("The answer is (B) enforce.", "B"),
    ("The answer is B) enforce.", "B"),
    ("The answer is B: enforce", "B"),
    ("The answer is option B.", "B"),
    ("The answer is option B because it fits.", "B"),
    ("Answer: B", "B"),
    ("The answer is enforce.", "B"),
    ("The answer is to yell at people.", "C"),
    ("The answer is science fiction.", "E"),
    ("The answer is science.", "D"),
    ("The answer is A.", "A"),
    ("The answer is A ignore.", "A"),
    ("The answer is a dog.", None),
    ("The answer is A dog.", None),
    ("The answer is (Z).", None),
    ("The answer is (B) or (C).", None),
    ("The answer is ignore or enforce.", None),
    ("The answer is not B.", None),
    ("The answer is 7.", None),
    ("(A) is wrong, so (C)", "C"),
    ("It must be option D", "D"),
    ("A dog would do it.", None),
    ("", None),
]

EQUAL = [
    ("two thirds", "2/3"),
    ("one half", "0.5"),
    ("three quarters", "0.75"),
    ("5 hundredths", "0.05"),
    ("5M", "5,000,000"),
    ("5m", "5"),
    ("3 quarters", "3"),
    ("42", "42"),
    ("42.", "42"),
    ("42.0", "42"),
    ("042", "42"),
    ("+42", "42"),
    (" 42 ", "42"),
    ("42...", "42"),
    ("(42)", "42"),
    ("-7", "−7"),
    ("- 7", "-7"),
    ("minus 7", "-7"),
    ("-0", "0"),
    ("1,234", "1234"),
    ("1,234,567", "1234567"),
    ("1 234", "1234"),
    ("$1,234.50", "1234.5"),
    ("-$5", "$-5"),
    ("0.5", "1/2"),
    ("½", "0.5"),
    (".5", "0.5"),
    ("2 1/2", "2.5"),
    ("10/4", "5/2"),
    ("\\frac{1}{2}", "0.5"),
    ("50%", "50"),
    ("50%", "0.5"),
    ("50%", "1/2"),
    ("50%", "50 percent"),
    ("12.5%", "1/8"),
    ("42 apples", "42"),
    ("42 apples", "42 apple"),
    ("12 red apples", "12 apples"),
    ("3 boxes", "3 box"),
    ("$5", "5 dollars"),
    ("5 km", "5 kilometres"),
    ("5 feet", "5 ft"),
    ("2 million", "2,000,000"),
    ("1.5e3", "1500"),
    ("1.2 x 10^5", "120000"),
    ("twelve", "12"),
    ("forty-two", "42"),
    ("two thousand and five", "2005"),
    ("x = 5", "5"),
    ("10th", "10"),
    ("A", "(A)"),
    ("A", "a."),
    ("(B) enforce", "B"),
    ("Paris", "paris."),
    ("the cat", "cat"),
    ("3:2", "3:2"),
    ("5 or 6", "5 or 6"),
    (BIG, BIG),
]
UNEQUAL = [
    ("two thirds", "2"),
    ("one half", "1"),
    ("three quarters", "3"),
    ("5M", "5"),
    ("5 bn", "5"),
    ("5 squared", "5"),
    ("5 hundredths", "5"),
    ("42", "43"),
    ("42", "-42"),
    ("42", "42.5"),
    ("42", "4.2"),
    ("4", "42"),
    ("0.333", "1/3"),
    ("3.14", "3.1416"),
    ("1,23", "123"),
    ("1,23", "1.23"),
    ("0,123", "123"),
    ("1.234", "1234"),
    ("3:2", "3"),
    ("3:2", "1.5"),
    ("3/4", "3"),
    ("1/0", "0"),
    ("1/0", "1"),
    ("0.5", "50"),
    ("0.5%", "50"),
    ("50%", "5"),
    ("2 million", "2"),
    ("5k", "5"),
    ("2^10", "2"),
    ("5²", "5"),
    ("--5", "-5"),
    ("5 or 6", "5"),
    ("5 or 6", "6"),
    ("5 apples and 3 pears", "5"),
    ("3 + 4", "3"),
    ("3 + 4", "7"),
    ("5-6", "5"),
    ("12/25/2020", "12"),
    ("10:30", "10"),
    ("5 km", "5 miles"),
    ("5 apples", "5 pears"),
    ("5 hours", "5 minutes"),
    ("five or six", "5"),
    ("five six", "5"),
    ("A", "B"),
    ("(B) enforce", "(B) ignore"),
    ("B. Smith", "B. Jones"),
    ("A", "a dog"),
    ("yes", "no"),
    ("", ""),
    ("", "0"),
    (".", "."),
    ("nan", "0"),
    ("inf", "1e999"),
    ("not 5", "5"),
    (BIG, "7"),
    (BIG, BIG + "7"),
    (BIG, BIG[:-1] + "8"),
]


def test_there_are_enough_written_cases() -> None:
    assert len(EXTRACT) + len(CHOOSE) + len(EQUAL) + len(UNEQUAL) >= 120


@pytest.mark.parametrize(("text", "expected"), EXTRACT)
def test_extract(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(("text", "expected"), CHOOSE)
def test_extract_option(text: str, expected: str | None) -> None:
    assert extract_answer(text, OPTIONS) == expected


def test_options_that_are_numbers() -> None:
    assert extract_answer("The answer is 15 apples.", ["12", "15", "150"]) == "B"
    assert extract_answer("The answer is $1,500.", ["12 dollars", "1500 dollars"]) == "B"
    assert extract_answer("The answer is 5 + 5 = 10.", ["5", "10"]) == "B"
    for other in ("-5", "5.5", "5/3", "10/5"):
        assert extract_answer(f"The answer is {other}.", ["5", "10"]) is None, other


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("(A)(B)", None),
        ("A, B", None),
        ("A/B", None),
        ("A, because of it", "A"),
        ("(B) a dog", "B"),
        ("B, I think", "B"),
    ],
)
def test_several_letters_are_no_option(said: str, expected: str | None) -> None:
    assert extract_answer(f"The answer is {said}.", ["cat", "dog"]) == expected


@pytest.mark.parametrize(("a", "b"), EQUAL, ids=range(len(EQUAL)))
def test_equal_both_ways(a: str, b: str) -> None:
    assert answers_equal(a, b)
    assert answers_equal(b, a)


@pytest.mark.parametrize(("a", "b"), UNEQUAL, ids=range(len(UNEQUAL)))
def test_unequal_both_ways(a: str, b: str) -> None:
    assert not answers_equal(a, b)
    assert not answers_equal(b, a)


def test_missing_answer_equals_nothing() -> None:
    assert not answers_equal(None, "5")
    assert not answers_equal("5", None)


@pytest.mark.parametrize("shape", ["{}", "-{}", "{}%", "${}", "0.{}", "1/{}", "{}/3", "1e{}", "{} apples", "2^{}"])
def test_ten_thousand_digits_neither_crash_nor_pass(shape: str) -> None:
    answer = extract_answer(f"Therefore, the answer is {shape.format(BIG)}.")
    assert answer is not None
    for gold in ("7", "1", "0", "2", "77", "0.7", "1/7", BIG[:4000]):
        assert not answers_equal(answer, gold)


@given(st.text(max_size=200))
def test_any_text_is_survived_and_nothing_stated_is_a_guess_of_its_words(text: str) -> None:
    for prefix in ("", "The answer is "):
        answer = extract_answer(prefix + text)
        assert answer is None or answer.strip()
    assert extract_answer(text, OPTIONS) in {None, *"ABCDE"}


@given(st.text(alphabet="0123456789.,:/^+-x*=()$% aqQ:\n½²", max_size=60))
def test_number_soup_is_survived(text: str) -> None:
    answer = extract_answer(f"the answer is {text}")
    answers_equal(answer, "5")
    answers_equal(text, text[::-1])


@given(st.text(max_size=40), st.text(max_size=40))
def test_equality_is_symmetric(a: str, b: str) -> None:
    assert answers_equal(a, b) == answers_equal(b, a)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3), st.booleans())
def test_a_stated_number_is_found_exactly(number, grouped: bool) -> None:  # type: ignore[no-untyped-def]
    written = f"{number:,}" if grouped else str(number)
    answer = extract_answer(f"First 3 x 4 = 12. Therefore, the answer is {written} apples.")
    assert answers_equal(answer, str(number))
    assert not answers_equal(answer, str(number + 1))


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(-999, 999), st.integers(1, 999))
def test_fractions_are_equal_exactly_when_their_values_are(a: int, b: int, c: int, d: int) -> None:
    assert answers_equal(f"{a}/{b}", f"{c}/{d}") == (Fraction(a, b) == Fraction(c, d))


@pytest.mark.timeout(60)  # seconds; quadratic matching takes minutes on these
@pytest.mark.parametrize(
    "piece", ["1 + ", "(", " ", "5 a", "1,000", "=1", "1 234 ", "answer to ", "the answer is ", "so "]
)
def test_long_texts_cost_linear_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    extract_answer(text)
    extract_answer(f"the answer is {text}")
    extract_answer(f"the answer is {text}", OPTIONS)
    answers_equal(text, "5")
