"""Every row of the grading rules, and the readings at their edges."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from mathtune.errors import DataError
from mathtune.grading import Grade, Outcome, gold_from_answer, grade

CORRECT, WRONG, NO_ANSWER = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER
TRUNCATED, UNGRADABLE = Outcome.TRUNCATED, Outcome.UNGRADABLE


@pytest.mark.parametrize(
    ("completion", "gold", "outcome"),
    [
        ("#### 18.", "18", CORRECT),
        ("#### $18.00", "18", CORRECT),
        ("####18", "18", CORRECT),
        ("#### 18 dollars", "18", CORRECT),
        ("#### -$5", "-5", CORRECT),
        ("\\boxed{18} dollars in 3 days", "18", CORRECT),
        ("The answer is 1/2.", "0.5", CORRECT),
        ("#### 18\n\nQuestion: Tom has 5 apples …\n#### 7", "18", CORRECT),
        ("**Answer: \\$18 per day.**", "18", CORRECT),
        ("#### 500", "5", WRONG),
        ("#### 0.05", "5", WRONG),
        ("#### 100009", "100000", WRONG),
        ("The answer is: 17.6", "18", WRONG),
        ("First I guess #### 12 but no.\n#### 18", "18", CORRECT),
    ],
)
def test_rows_of_the_grading_rules(completion: str, gold: str, outcome: Outcome) -> None:
    assert grade(completion, gold).outcome is outcome


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("18", "18"),
        ("+18", "18"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("- 5", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("−€5", "-5"),
        ("‑5", "-5"),
        ("\\$18", "18"),
        ("$ 18", "18"),
        ("£18", "18"),
        ("¥18", "18"),
        ("1,450", "1450"),
        ("1{,}450", "1450"),
        ("1\u2009450", "1450"),
        ("1\u202f450", "1450"),
        ("1\\,450", "1450"),
        ("12,345,678.50", "12345678.5"),
        ("1,00,000", "100000"),
        ("18.", "18"),
        ("18...", "18"),
        ("18.0", "18"),
        (".5", "1/2"),
        ("$.50", "1/2"),
        ("3/4", "3/4"),
        ("3 / 4", "3/4"),
        ("-3/4", "-3/4"),
        ("3 1/2", "7/2"),
        ("-3 1/2", "-7/2"),
        ("\\frac{1}{2}", "1/2"),
        ("\\dfrac{1}{2}", "1/2"),
        ("\\tfrac{1,000}{3}", "1000/3"),
        ("\\frac12", "1/2"),
        ("3\\frac{1}{2}", "7/2"),
        ("-\\frac{1}{2}", "-1/2"),
        ("\\frac{-1}{2}", "-1/2"),
        ("1.8e1", "18"),
        ("1.8E+1", "18"),
        ("1.8 \\times 10^{1}", "18"),
        ("1.8 x 10^1", "18"),
        ("**18**", "18"),
        ("`18`", "18"),
        ("(18)", "18"),
        ("= 18", "18"),
        ("x = 18", "18"),
        ("≈ 18", "18"),
        ("18!", "18"),
        ("18-inch", "18"),
        ("18/hour", "18"),
        ("18 \\text{ cm}", "18"),
        ("18^\\circ", "18"),
        ("16 + 2 = 18", "18"),
        ("3 x 6 = $18", "18"),
        ("3 * 5 = 15 + 3 = 18", "18"),
        ("\\text{18}", "18"),
        ("007", "7"),
    ],
)
@pytest.mark.parametrize("frame", ["#### {}", "\\boxed{{{}}}", "The answer is {}", "Answer: {}"])
def test_numbers_are_read_exactly(written: str, value: str, frame: str) -> None:
    graded = grade(frame.format(written), Fraction(value))
    assert graded.outcome is CORRECT, graded
    assert graded.value == Fraction(value)


@pytest.mark.parametrize(
    "written",
    [
        "18-20",
        "18–20",
        "$18-$20",
        "18:30",
        "18/6/2024",
        "18,5",
        "18.5.1",
        "18 + 2",
        "3 x 36",
        "3 + (18",
        "18 - 2",
        "18 – 20",
        "18*2",
        "18 x 2",
        "18^2",
        "18\\sqrt{2}",
        "18\\pi",
        "1/0",
        "1e99999999",
        "9" * 5000,
    ],
)
@pytest.mark.parametrize("frame", ["#### {}", "\\boxed{{{}}}", "The answer is {}", "It is {}"])
def test_what_only_begins_like_a_number_is_never_right(written: str, frame: str) -> None:
    for gold in ("18", "20", "2", "5", "36"):
        graded = grade(frame.format(written), gold)
        assert graded.outcome is WRONG
        assert graded.value is None
        assert graded.extracted is not None and len(graded.extracted) <= 80


def test_a_list_in_a_box_is_not_its_first_member() -> None:
    assert grade("\\boxed{18, 20}", "18").outcome is WRONG


@pytest.mark.parametrize(
    ("completion", "method", "extracted"),
    [
        ("#### 7\n\\boxed{18}\nThe answer is 5. Or 6.", "boxed", "18"),
        ("\\boxed{7} no, \\boxed{18}", "boxed", "18"),
        ("\\boxed{\\boxed{18}}", "boxed", "18"),
        ("\\boxed{\\text{about } \\frac{1}{2}}", "boxed", "\\frac{1}{2}"),
        ("\\boxed{18", "boxed", "18"),
        ("\\boxed 18", "boxed", "18"),
        ("\\boxed{}\n#### 18", "hash", "18"),
        ("The answer is 5.\n#### 18\nI have 3 cats.", "hash", "18"),
        ("#### \n**18**", "hash", "18"),
        ("#### The answer is 18", "hash", "18"),
        ("#### Janet makes $18 every day", "hash", "$18"),
        ("#### Step 2: add 3\nThat makes 18.\n**Final Answer:** 18 (in 3 days)", "answer_is", "18"),
        ("The answer is 5. No, the answer is 18 in 3 days.", "answer_is", "18"),
        ("ANSWER: 18 in 3 days", "answer_is", "18"),
        ("**Answer**: 18 in 3 days", "answer_is", "18"),
        ("The final answer is: $18$ in 3 days", "answer_is", "$18"),
        ("The answers are 18 in 3 days", "answer_is", "18"),
        ("### Final Answer\n\n18 in 3 days", "answer_is", "18"),
        ("Answer: Janet makes $18 every 3 days.", "answer_is", "$18"),
        ("The answer is approximately 18 in 3 days", "answer_is", "18"),
        ("Answer: She had 5 eggs. She sold 3. That leaves 18.", "last_number", "18"),
        ("The answer is found by adding 5. It is 18.", "last_number", "18"),
        ("The answer is 18. I hope this answer is clear to you", "last_number", "18"),
        ("16 - 3 = 13\n13 + 5 = 18", "last_number", "18"),
        ("Therefore, 18 people crossed the finish line.", "last_number", "18"),
    ],
)
def test_the_place_of_the_answer(completion: str, method: str, extracted: str) -> None:
    graded = grade(completion, "18" if "frac" not in completion else "0.5")
    assert (graded.outcome, graded.method, graded.extracted) == (CORRECT, method, extracted)


@pytest.mark.parametrize(
    "following",
    [
        "\nQuestion: Tom …\n#### 7",
        " Question: Tom …\n#### 7",
        "\n**Question:** Tom …\n#### 7",
        "\nQuestion 2: Tom …\n#### 7",
        "\nQ: Tom …\nA: The answer is 7.",
        "\n### Question\nTom …\n#### 7",
        "\n\n### Instruction:\nTom …\n\\boxed{7}",
        "### Instruction\n#### 7",
        "\nProblem: Tom …\n#### 7",
        "\nProblem 12: Tom …\n#### 7",
        "\nUser: Tom …\n#### 7",
        "\nHuman: Tom …\n#### 7",
        "<|im_end|>\n<|im_start|>user\nTom …\n#### 7",
        "</s> Tom … #### 7",
        "<end_of_turn>\n<start_of_turn>user\n#### 7",
        "[INST] Tom … [/INST] #### 7",
    ],
)
def test_the_text_is_cut_at_the_next_question(following: str) -> None:
    assert grade("#### 18" + following, "18").outcome is CORRECT
    assert grade("She makes $18" + following, "18").outcome is CORRECT
    # The cut answer counts as finished, though the text went on to the token limit.
    assert grade("She makes $18." + following, "18", finished=False).outcome is CORRECT


@pytest.mark.parametrize(
    "beginning",
    [
        "Question: Tom has 5 apples.\nAnswer: ",
        "**Question:** Tom has 5 apples.\n",
        "Q: Tom has 5.\nA: ",
        "### Problem\nTom has 5.\n### Solution\n",
        "Understanding the Question: we want a total of 5 things.\n",
        "In Q1: 5, in Q2: 6. ",
        "The first question: what is 2 + 3? It is 5. ",
    ],
)
def test_a_question_repeated_before_the_answer_is_not_a_next_one(beginning: str) -> None:
    assert grade(beginning + "It is 18.\n#### 18", "18").outcome is CORRECT
    assert grade(beginning + "#### 18\nQuestion: Ann …\n#### 7", "18").outcome is CORRECT


@pytest.mark.parametrize(
    ("completion", "finished", "outcome"),
    [
        ("", True, NO_ANSWER),
        (" \n\t", True, NO_ANSWER),
        ("I do not know.", True, NO_ANSWER),
        ("####", True, NO_ANSWER),
        ("\\boxed{}", True, NO_ANSWER),
        ("The answer is eighteen.", True, CORRECT),
        ("", False, TRUNCATED),
        ("First I add", False, TRUNCATED),
        ("16 - 3 = 13 and", False, TRUNCATED),  # an intermediate result is no answer
        ("She sells 18", False, TRUNCATED),
        ("#### 18\nNow let me check", False, CORRECT),
        ("The answer is 18 because", False, CORRECT),
        ("#### 17", False, WRONG),
    ],
)
def test_no_answer_and_truncation(completion: str, finished: bool, outcome: Outcome) -> None:
    graded = grade(completion, "18", finished=finished)
    assert graded.outcome is outcome
    assert graded.reason
    assert graded.correct is (outcome is CORRECT)
    if outcome in (NO_ANSWER, TRUNCATED):
        assert (graded.extracted, graded.value, graded.method) == (None, None, None)


@pytest.mark.parametrize(
    ("answer", "gold", "outcome"),
    [
        ("50%", "50", CORRECT),
        ("50%", "0.5", CORRECT),
        ("50\\%", "1/2", CORRECT),
        ("50 percent", "0.5", CORRECT),
        ("50", "0.5", WRONG),
        ("0.5", "50", WRONG),
        ("0.5%", "50", WRONG),
        ("50%", "5000", WRONG),
        ("50", "50%", CORRECT),
        ("0.5", "50%", CORRECT),
        ("50%", "50%", CORRECT),
        ("50%", "5000%", WRONG),
        ("33.3333", "33.33", CORRECT),
        ("33.334", "33.33", CORRECT),
        ("100/3", "33.33", CORRECT),
        ("33.325", "33.33", CORRECT),  # half up
        ("-33.325", "-33.33", CORRECT),  # and so below zero
        ("33.3249", "33.33", WRONG),
        ("33.3", "33.33", WRONG),
        ("33", "33.33", WRONG),
        ("33.33", "100/3", WRONG),  # a fraction shows no decimals
        ("17.99999", "18", WRONG),  # an integer gold takes no rounding
        ("18.00001", "18", WRONG),
        ("4.999", "$5.00", CORRECT),
        ("4.99", "$5.00", WRONG),
        ("5", "$5.00", CORRECT),
        ("1450", "1,450", CORRECT),
        ("1.45", "1,450", WRONG),
        ("1450.00", "1450 dollars", CORRECT),
        ("0.333", "1/3", WRONG),
        ("-5", "5", WRONG),
        ("1.8e1", "18", CORRECT),
        ("0", "-0", CORRECT),
    ],
)
def test_equality(answer: str, gold: str, outcome: Outcome) -> None:
    assert grade(f"#### {answer}", gold).outcome is outcome


def test_gold_as_a_fraction_is_exact() -> None:
    assert grade("#### 1/3", Fraction(1, 3)).outcome is CORRECT
    assert grade("#### 33.3333", Fraction("33.33")).outcome is WRONG


def test_units_after_the_number_are_ignored() -> None:
    # Documented choice: an amount in two units is read by its first.
    assert grade("Answer: 3 hours and 20 minutes", "3").outcome is CORRECT
    assert grade("Answer: 3 hours and 20 minutes", "200").outcome is WRONG


@pytest.mark.parametrize("gold", ["", "  ", "\n"])
def test_a_gold_answer_without_content_makes_the_problem_ungradable(gold: str) -> None:
    assert grade("#### 18", gold).outcome is UNGRADABLE


def test_a_grade_says_what_it_rests_on() -> None:
    assert grade("#### $17.50 in all", "18") == Grade(
        WRONG, "$17.50", Fraction(35, 2), "hash", "$17.50 is not the gold answer 18"
    )


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("She makes 9 * 2 = $<<9*2=18>>18.\n#### 18", "18"),
        ("…\n#### 2,125", "2,125"),
        ("So the area is $\\boxed{\\frac{\\pi}{2}}$.", "\\frac{\\pi}{2}"),
        ("The answer is $5.00.", "$5.00"),
        ("Therefore, 4 people crossed the finish line faster than him.", "4"),
        ("So it takes her 25% of the day.", "25%"),
        ("3 + 4 = 7\nThe answer is: $x^2 + 1$.", "$x^2 + 1$"),
        ("The answer is 5 or 7.", "5 or 7"),
        ("#### 3. Add\n3 + 4 = 7\nThe answer is 7.", "7"),
        ("<think>\\boxed{99}</think>\n\\boxed{12}", "12"),
        ("<answer>12</answer> in 3 steps", "12"),
    ],
)
def test_gold_from_answer(answer: str, gold: str) -> None:
    assert gold_from_answer(answer) == gold


@pytest.mark.parametrize("answer", ["", "There is no telling."])
def test_gold_from_answer_refuses_a_solution_without_one(answer: str) -> None:
    with pytest.raises(DataError, match="no final answer"):
        gold_from_answer(answer)


def test_every_published_gold_grades_correct_against_itself(data_dir: Path) -> None:
    seen = 0
    for name in ("train", "test"):
        for line in (data_dir / "gsm8k" / f"{name}.jsonl").open(encoding="utf-8"):
            answer = json.loads(line)["answer"]
            graded = grade(answer, gold_from_answer(answer))
            assert (graded.outcome, graded.method) == (CORRECT, "hash"), graded
            assert grade(answer, graded.value or Fraction(0)).outcome is CORRECT
            seen += 1
    assert seen == 8_792
    svamp = json.loads((data_dir / "svamp" / "SVAMP.json").read_text(encoding="utf-8"))
    assert len(svamp) == 1_000
    for row in svamp:
        gold = str(row["Answer"])
        assert grade(f"The answer is {gold}.", gold).outcome is CORRECT
        assert grade(f"#### {float(gold) + 1}", gold).outcome is WRONG


def test_grading_imports_neither_torch_nor_sympy() -> None:
    code = (
        "import sys; from mathtune.grading import grade, check_steps; grade('#### 18', '18');"
        "check_steps('1 + 1 = 2'); heavy = {'torch', 'sympy', 'math_verify', 'numpy'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
