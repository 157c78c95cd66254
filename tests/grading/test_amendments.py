"""The amendments to the grading rules, both ways: what must be right, and what must not."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from mathtune.grading import (
    GRADER_VERSION,
    ErrorKind,
    Outcome,
    check_steps,
    classify,
    gold_from_answer,
    grade,
)

CORRECT, WRONG = Outcome.CORRECT, Outcome.WRONG
NO_ANSWER, TRUNCATED = Outcome.NO_ANSWER, Outcome.TRUNCATED

OWN = [
    pytest.param(json.loads(line), id=str(number))
    for number, line in enumerate(
        (Path(__file__).parent / "cases" / "own.jsonl").read_text(encoding="utf-8").splitlines(),
        start=1,
    )
]


@pytest.mark.parametrize("row", OWN)
def test_own_case(row: dict[str, object]) -> None:
    graded = grade(str(row["text"]), str(row["gold"]))
    assert graded.correct is row["correct"], graded


def test_the_version_is_a_string_that_results_can_be_bound_to() -> None:
    assert GRADER_VERSION == "2"


@pytest.mark.parametrize(
    ("text", "finished", "outcome"),
    [
        ("<think>I start with 18 and", True, NO_ANSWER),
        ("<think>I start with 18 and", False, TRUNCATED),
        ("<think>#### 18</think>", True, NO_ANSWER),
        ("18 hens. <think>So #### 18", True, NO_ANSWER),  # the facts before a thought
        ("#### 18\n<think>So 7", False, CORRECT),
        ("[THINK]#### 18", False, TRUNCATED),
        ("<|channel|>analysis<|message|>#### 18", False, TRUNCATED),
        ("so 20?</think>18", False, TRUNCATED),  # unmarked, and the text was cut
        ("so 20?</think>#### 18", False, CORRECT),
    ],
)
def test_a_thought_is_not_the_answer(text: str, finished: bool, outcome: Outcome) -> None:
    assert grade(text, "18", finished=finished).outcome is outcome


def test_a_thought_is_set_aside_in_gold_answers_and_step_checks() -> None:
    answer = "<think>\nThe answer is 99? 1 + 1 = 3, no.\n</think>\n\n3*4 = 12\nNora has 12 pens."
    assert gold_from_answer(answer) == "12"
    report = check_steps(answer)
    assert [(answer[e.start : e.end], e.expression) for e in report.equations] == [
        ("3*4 = 12", "3 * 4")
    ]
    assert classify(grade(answer, "13"), answer) is ErrorKind.REASONING


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#### 5 to 7", "5 to 7 is more than one value"),
        ("\\boxed{x > 5}", "x > 5 is a relation, which gives no value"),
        ("#### no solution", "no solution is words instead of a number"),
        ("\\boxed{2x + 3}", "2x + 3 is not 5"),
        ("#### 3 + 2", "3 +  is not a single plain number"),
    ],
)
def test_the_reason_says_what_stands_in_the_place_of_a_number(text: str, reason: str) -> None:
    graded = grade(text, "5")
    assert (graded.outcome, graded.value, graded.reason) == (WRONG, None, reason)


def test_words_at_the_end_of_an_unfinished_text_are_no_answer_yet() -> None:
    assert grade("5 hens.\n#### the total", "5", finished=False).outcome is TRUNCATED
    assert grade("5 hens.\n#### no solution\nThis is", "5", finished=False).outcome is WRONG


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("0.30000000000000004", "0.3", CORRECT),
        ("0.30000000000000004", "0.3001", WRONG),
        ("17.999999999999996", "18", CORRECT),
        ("0.66666666667", "2/3", CORRECT),  # 11 decimals: ordinary rounding
        ("0.66666666667", "0.667", WRONG),
    ],
)
def test_float_noise_in_a_gold(gold: str, answer: str, outcome: Outcome) -> None:
    assert grade(f"#### {answer}", gold).outcome is outcome


PHRASES = [
    "The answer is {}.", "The answer is: {}", "\\boxed{{{}}}", "**Answer: ${} per day.**",
    "so she makes ${} every day at the market", "<answer>{}</answer>", "#### {} in 3 days",
    "Answer: {} apples per day (9 each)", "The answer is {} eggs, since each hen lays 6.",
    "Therefore, the answer is $\\${}$.", "### Answer\n\n{} eggs", "\\[\n\\boxed{{{}}}\n\\]",
    "<think>\nThe answer is 7?\n</think>\n\nIt is {}.",
]  # fmt: skip


@pytest.mark.parametrize("name", ["train", "test", "test_socratic"])
def test_every_gsm8k_gold_in_every_phrase(name: str, data_dir: Path) -> None:
    count = 0
    for line in (data_dir / "gsm8k" / f"{name}.jsonl").open(encoding="utf-8"):
        gold = gold_from_answer(json.loads(line)["answer"])
        for phrase in PHRASES:
            graded = grade("She had 3 eggs and sold 2.\n" + phrase.format(gold), gold)
            assert graded.correct, (phrase, graded)
        count += 1
    assert count == {"train": 7_473, "test": 1_319, "test_socratic": 1_319}[name]


def test_no_sentence_of_gsm8k_stops_the_grader(data_dir: Path) -> None:
    # Real sentences at a marked place: whatever stands there, a grade comes back.
    for line in (data_dir / "gsm8k" / "test.jsonl").open(encoding="utf-8"):
        text = re.sub("<<.*?>>", "", json.loads(line)["answer"])
        for sentence in text.splitlines():
            for frame in ("{}", "The answer is {}", "Answer: {}", "#### {}"):
                assert grade(frame.format(sentence), Fraction(-1)).outcome in (WRONG, NO_ANSWER)


# --- Step checks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "21 - 3 = 2x", "21 - 3 = 2x.", "$21 - 3 = 2x$", "21-3=2x-1", "21 - 3 = 2 * x",
        "2x - 3 = 21",
        "20 percent of 50 = 10", "50 * 20 percent = 10", "10/40 = 25 percent",
        "1 - 20 percent = 80%",
        "50 percent + 20 percent = 70 percent", "50 x 20 per cent = 10 dollars",
        "1 hour + 20 minutes = 80 minutes", "1 hour + 20 minutes = 1.33 hours",
        "$1 + 50 cents = $1.50",
        "2 feet + 6 inches = 30 inches", "90 minutes + 30 minutes = 2 hours", "25 cents * 4 = $1",
        "3 dimes + 2 quarters = 80 cents", "Lazlo = 4 pounds - 6 ounces = 58 ounces",
        "0.1 + 0.2 = 0.30000000000000004", "<<0.1+0.2=0.30000000000000004>>0.3",
        "0.30000000000000004 * 10 = 3", "4.35 * 100 = 434.99999999999994",
    ],
)  # fmt: skip
def test_steps_raise_no_alarm(text: str) -> None:
    assert check_steps(text).wrong == ()


@pytest.mark.parametrize(
    "text",
    [
        "21 - 3 = 20", "20 percent of 50 = 20", "10/40 = 35 percent", "1 hour + 2 hours = 4 hours",
        "25 cents * 4 = $2", "60 minutes * 2 = 3 hours", "3 hours * 60 minutes/hour = 190 minutes",
        "0.1 + 0.2 = 0.4", "0.30000000000000004 * 10 = 4", "5 cents + 3 cents = 9 cents",
    ],
)  # fmt: skip
def test_steps_still_find_what_is_false(text: str) -> None:
    assert check_steps(text).wrong


def test_a_megabyte_of_equations_is_checked_up_to_the_limit_and_the_rest_is_counted() -> None:
    report = check_steps("9 + 9 = " * 125_000)
    assert len(report.equations) + report.unread > 124_990
    assert report.unread > 100_000
