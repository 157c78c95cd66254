"""Stated equations are checked exactly: what is wrong is found, what is right raises no alarm."""

from __future__ import annotations

import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from mathtune.arithmetic import format_number
from mathtune.grading import ErrorKind, Verdict, check_steps, classify, grade

EXACT, ROUNDED, WRONG = Verdict.EXACT, Verdict.ROUNDED, Verdict.WRONG


def verdicts(text: str) -> list[Verdict]:
    return [equation.verdict for equation in check_steps(text).equations]


@pytest.mark.parametrize(
    ("text", "wrong_text"),
    [
        ("She sold 48/2 = <<48/2=24>>24 clips.", "She sold 48/2 = <<48/2=25>>25 clips."),
        ("16 - 3 = 13", "16 - 3 = 12"),
        ("So 5 x 12 = $60.", "So 5 x 12 = $65."),
        ("$20 * 3 = $60", "$20 * 3 = $90"),
        ("1/2 * 10 = 5", "1/2 * 10 = 20"),
        ("50% of 80 = 40", "50% of 80 = 50"),
        ("1/4 of 20 = 5", "1/4 of 20 = 4"),
        ("a total of 30+30 = 60 minutes", "a total of 30+30 = 70 minutes"),
        ("3 apples + 4 apples = 7 apples", "3 apples + 4 apples = 8 apples"),
        ("160 pencils / 20 pencils/box = 8 boxes", "160 pencils / 20 pencils/box = 9 boxes"),
        ("$16/hour * 40 hours/week = $640/week", "$16/hour * 40 hours/week = $600/week"),
        ("5 \\times 12 = 60", "5 \\times 12 = 50"),
        ("\\(84 \\div 12 = 7\\)", "\\(84 \\div 12 = 8\\)"),
        ("\\frac{1}{2} \\times 8 = 4", "\\frac{1}{2} \\times 8 = 5"),
        ("16 − 3 = 13", "16 − 3 = 14"),
        ("1,200 + 300 = 1,500", "1,200 + 300 = 1,600"),
        ("(2 + 3) * 4 = 20", "(2 + 3) * 4 = 14"),
        ("7 + 2(16) = 39", "7 + 2(16) = 144"),
        ("1 1/2 * 60 = 90", "1 1/2 * 60 = 30"),
        ("2 + 1/2 = 2 1/2", "2 + 1/2 = 3 1/2"),
        ("(5 + 3 = 8)", "(5 + 3 = 9)"),
        ("1) 5 + 3 = 8", "1) 5 + 3 = 9"),
        ("1. 5 + 3 = 8", "1. 5 + 3 = 9"),
        ("- 5 + 3 = 8", "- 5 + 3 = 9"),
        ("* 5 + 3 = 8", "* 5 + 3 = 9"),
        ("Step 1: 5 + 3 = 8", "Step 1: 5 + 3 = 9"),
        ("It is -5 + 3 = -2 degrees", "It is -5 + 3 = 2 degrees"),
        ("**5 + 3 = 8**", "**5 + 3 = 9**"),
        ("100 - 53 = 47%", "100 - 53 = 48%"),
        ("10/40 = 25%", "10/40 = 20%"),
        ("$0.05 * 5 = 25 cents", "$0.05 * 5 = 30 cents"),
        ("2 cups / 1/4 cup = 8 burgers", "2 cups / 1/4 cup = 9 burgers"),
        ("There are <<20/5=4>>4 $5 bills: 20/5 = 4 $5 bills", "20/5 = 5 $5 bills"),
        ("<<2*3=6>>6", "<<2*3=6>>7"),  # the text must repeat the result
        ("<<750*4=3000>>3,000/month", "<<750*4=3000>>3,100/month"),
    ],
)
def test_finds_the_false_one_and_passes_the_true_one(text: str, wrong_text: str) -> None:
    assert verdicts(text) and set(verdicts(text)) == {EXACT}
    assert WRONG in verdicts(wrong_text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("100/3 = 33.33", ROUNDED),
        ("2/3 = 0.67", ROUNDED),
        ("2/3 = 0.66", ROUNDED),  # cut off
        ("2/3 = 0.65", WRONG),
        ("2/3 = 0.68", WRONG),
        ("31 / 3 = 10.33..., so ten", ROUNDED),
        ("100/3 = 33 stickers", ROUNDED),
        ("17/5 = 4 boxes", ROUNDED),
        ("17/5 = 5 boxes", WRONG),
        ("1/3 = 0", WRONG),
        ("1.5*3 = 4", WRONG),  # whole numbers only where something is divided
        ("1.5*3 = 4.5", EXACT),
        ("9/27 * 100% = 33.333%", ROUNDED),
        ("1.234 * 1.1 = 1.36", ROUNDED),  # 1.3574
        ("50 * 1.5 = 75.5", WRONG),
    ],
)
def test_rounding(text: str, verdict: Verdict) -> None:
    assert verdicts(text) == [verdict]


def test_a_rounded_result_may_be_carried_on() -> None:
    assert verdicts("Each pays 100/3 = 33.33. In all 33.33*3 = 100.") == [ROUNDED, ROUNDED]
    assert verdicts("In all 33.33*3 = 100.") == [WRONG]
    assert verdicts("Each pays 100/3 = 33.33. In all 33.33*3 = 110.") == [ROUNDED, WRONG]


def test_chains() -> None:
    assert verdicts("(5+3)*2 = 8*2 = 16") == [EXACT, EXACT]
    assert verdicts("2+3 = 5+4 = 9") == [EXACT, EXACT]  # written as one goes
    assert verdicts("2+3 = 5+4 = 10") == [EXACT, WRONG]
    assert verdicts("2+3 = 6+4 = 10") == [WRONG, EXACT]
    assert verdicts("16 - 3 = 13 eggs and 13 * 2 = 26 dollars") == [EXACT, EXACT]
    assert verdicts("<<2+3=5=5>>5") == [EXACT, EXACT]


@pytest.mark.parametrize(
    "text",
    [
        "x = 18",
        "2x + 5 = 22",
        "5x + 10x = 30x = 90",
        "3 + 2x = 30",
        "(5/2)x = 925",
        "x + 3 = 12",
        "n * 3 = 12",
        "cost - 5 = 10",
        "total cost - 16 - 3 = 13",
        "adults + Shonda (1) + 2 = 10",
        "21/7 = 90/x",
        "38 - 32 = 32 + x - 32",
        "2^3 + 1 = 9",
        "10:30 + 2 = 12:30",
        "100 / 6 = 16 and 2/3",
        "17/5 = 3 remainder 2",
        "2 * 1 = 2 million",
        "250 x 12 = 3 000",
        "14, 400 / 80 = 180",
        "0900-0130 = 0730",
        "Weeks 1-2 = 96",
        "twice 5 + 3 = 13",
        "12 x 1 and 1/4 = 15",
        "Day 1 = 5 eggs",
        "2 + 3 >= 4",
        "2 + 3 <= 6",
        "2 + 3 != 4",
        "16 - 3 = ?",
        "A = 5, B = 6",
        "no equation here",
        "",
    ],
)
def test_raises_no_alarm_where_the_equation_says_something_else(text: str) -> None:
    assert check_steps(text).wrong == ()


def test_report_shows_span_and_values() -> None:
    text = "She sold 48/2 = <<48/2=25>>25 clips, then 5 x 12 = $60."
    report = check_steps(text)
    assert [
        (text[e.start : e.end], e.expression, e.stated, e.exact, e.verdict, e.annotation)
        for e in report.equations
    ] == [
        ("48/2=25", "48/2", Fraction(25), Fraction(24), WRONG, True),
        ("48/2 = <<48/2=25>>25", "48 / 2", Fraction(25), Fraction(24), WRONG, False),
        ("5 x 12 = $60", "5 x 12", Fraction(60), Fraction(60), EXACT, False),
    ]
    assert report.wrong == report.equations[:2]
    assert report.unread == 0
    assert check_steps("<<3*+x=18>>18").unread == 1


@pytest.mark.parametrize(
    ("completion", "kind"),
    [
        ("16 - 3 = 13\n13 * 2 = 26\n#### 26", ErrorKind.NONE),
        ("16 - 3 = 12\n12 * 2 = 24\n#### 24", ErrorKind.ARITHMETIC),
        ("16 - 4 = 12\n12 * 2 = 24\n#### 24", ErrorKind.REASONING),
        ("Just a guess.\n#### 24", ErrorKind.REASONING),
        ("16 - 3 = 12, and that is all I know of the eggs", ErrorKind.ARITHMETIC),
        ("I cannot tell.", ErrorKind.FORMAT),
        ("#### 20-30", ErrorKind.FORMAT),
        # An equation of a question the model invented is not part of the solution.
        ("16 - 4 = 12\n#### 24\nQuestion: Tom …\n1 + 1 = 3", ErrorKind.REASONING),
    ],
)
def test_classify(completion: str, kind: ErrorKind) -> None:
    assert classify(grade(completion, "26"), completion) is kind


def test_classify_truncated_and_ungradable() -> None:
    assert classify(grade("16 - 3 = 12 and", "26", finished=False), "…") is ErrorKind.FORMAT
    assert classify(grade("1 + 1 = 3\n#### 3", ""), "1 + 1 = 3") is ErrorKind.NONE


# Of the equations in GSM8K train's running text that are called wrong this one is read wrongly;
# all others are false as printed.
MISREAD = {"29 + 24 decorations already up = 83"}


def test_gsm8k_train_raises_no_false_alarm(data_dir: Path) -> None:
    annotations = equations = 0
    alarms: list[str] = []
    for line in (data_dir / "gsm8k" / "train.jsonl").open(encoding="utf-8"):
        answer = json.loads(line)["answer"]
        report = check_steps(answer)
        stated = [e for e in report.equations if e.annotation]
        assert not [e for e in stated if e.verdict is not EXACT], answer
        annotations += len(stated)
        equations += len(report.equations) - len(stated)
        alarms += [answer[e.start : e.end] for e in report.wrong]
    assert annotations >= 23_716
    assert equations > 23_500
    assert set(alarms) >= MISREAD
    assert len(alarms) <= 27, alarms


def _planted(answer: str, rng: random.Random) -> str | None:
    """Write a wrong result into one annotation and the number after it."""
    found = list(re.finditer(r"=([0-9.]+)>>([0-9.,]*[0-9])", answer))
    if not found:
        return None
    match = rng.choice(found)
    right = Fraction(match[1])
    wrong = rng.choice([right + 1, right - 1, right + 10, right * 10, right * 2])
    if wrong in (right, 0):
        return None
    text = format_number(wrong)
    return f"{answer[: match.start()]}={text}>>{text}{answer[match.end() :]}"


def test_finds_planted_errors(data_dir: Path) -> None:
    rng = random.Random(0)
    lines = (data_dir / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    planted = found = found_bare = 0
    while planted < 1_000:
        solution = _planted(rng.choice(answers), rng)
        if solution is None:
            continue
        planted += 1
        found += bool(check_steps(solution).wrong)
        found_bare += bool(check_steps(re.sub("<<.*?>>", "", solution)).wrong)
    assert found >= 990
    assert found_bare >= 920  # without annotations, from the running text alone
