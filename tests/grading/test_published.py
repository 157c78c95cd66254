"""The published graders against an independent transcription of their definitions."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from mathtune.grading import PUBLISHED_GRADERS, published_grades
from mathtune.report.wording import GRADERS

NAMES = ("openai", "lm_eval_strict", "lm_eval_flexible", "lm_eval_cot_strict")


# --- Transcription: the published code, line by line, with its own regular expressions ------------


def openai_extract(completion: str) -> str:
    match = re.compile(r"#### (\-?[0-9\.\,]+)").search(completion)
    return match.group(1).strip().replace(",", "") if match else "[invalid]"


def harness_regex_filter(response: str, pattern: str, group_select: int) -> str:
    matches = re.compile(pattern).findall(response)
    if not matches:
        return "[invalid]"
    match = matches[group_select]
    if isinstance(match, tuple):
        kept = [part for part in match if part]
        match = kept[0] if kept else "[invalid]"
    return str(match.strip())


def harness_exact_match(prediction: str, reference: str) -> bool:
    for pattern in [",", r"\$", "(?s).*#### ", r"\.$"]:
        prediction = re.sub(pattern, "", prediction)
        reference = re.sub(pattern, "", reference)
    return prediction.lower() == reference.lower()


def transcribed(completion: str, answer: str) -> dict[str, bool]:
    gold = openai_extract(answer)
    strict = harness_regex_filter(completion, "#### (\\-?[0-9\\.\\,]+)", 0)
    flexible = harness_regex_filter(completion, "(-?[$0-9.,]{2,})|(-?[0-9]+)", -1)
    cot = harness_regex_filter(completion, r"The answer is (\-?[0-9\.\,]+).", 0)
    return {
        "openai": gold != "[invalid]" and openai_extract(completion) == gold,
        "lm_eval_strict": harness_exact_match(strict, answer),
        "lm_eval_flexible": harness_exact_match(flexible, answer),
        "lm_eval_cot_strict": harness_exact_match(cot, answer.split("####")[-1].strip()),
    }


# -------------------------------------------------------------------------------------------------


def verdicts(completion: str, gold: str) -> tuple[bool, ...]:
    grades = published_grades(completion, gold)
    assert tuple(grades) == NAMES == tuple(PUBLISHED_GRADERS)
    assert tuple(GRADERS) == ("mathtune", *PUBLISHED_GRADERS)  # each has its words for readers
    return tuple(grades.values())


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("#### 18", (True, True, True, False)),
        ("#### 1,8", (True, True, True, False)),  # commas go wherever they stand
        ("#### 18.", (False, True, True, False)),
        ("#### $18", (False, False, True, False)),
        ("#### $18.00", (False, False, False, False)),
        ("####18", (False, False, True, False)),
        ("#### 12 but no\n#### 18", (False, False, True, False)),  # the first counts
        ("The answer is 18.", (False, False, True, True)),
        ("The answer is 18", (False, False, True, False)),  # extracts 1
        ("The answer is 18 dollars", (False, False, True, True)),
        ("the answer is 18.", (False, False, True, False)),
        ("#### 18\n\nQuestion: Tom …\n#### 7", (True, True, False, False)),
        ("It is 18 ...", (False, False, False, False)),  # the last run is "..."
        ("", (False, False, False, False)),
    ],
)
@pytest.mark.parametrize("gold", ["9 * 2 = 18\n#### 18", "18"])
def test_quirks_are_kept(completion: str, expected: tuple[bool, ...], gold: str) -> None:
    assert verdicts(completion, gold) == expected


def test_an_invented_question_scores_under_flexible() -> None:
    completion = "#### 18\n\nQuestion: Tom has 3 + 4 apples.\n#### 7"
    assert published_grades(completion, "#### 7")["lm_eval_flexible"] is True


def test_a_gold_the_original_could_not_take_is_never_matched() -> None:
    assert verdicts("[invalid]", "#### \\frac{1}{2}") == (False, False, False, False)


def test_agrees_with_the_transcription_on_fuzzed_texts() -> None:
    rng = random.Random(20_211_014)
    pieces = [
        "#### ",
        "####",
        "The answer is ",
        "$",
        ",",
        ".",
        "-",
        " ",
        "\n",
        "1",
        "18",
        "7",
        "00",
    ]
    pieces += ["1,450", "-5", "3.50", "x", "Question:", "…", "a", "\\$", "!", "--"]
    golds = [
        "#### 18",
        "9+9\n#### 1,450",
        "#### -5",
        "a #### b\n#### 7",
        "#### 3.50",
        "####18",
        "#### $5",
    ]
    matched = dict.fromkeys(NAMES, 0)
    for _ in range(5_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(14)))
        gold = rng.choice(golds)
        expected = transcribed(text, gold)
        assert published_grades(text, gold) == expected, (text, gold)
        for name in NAMES:
            matched[name] += expected[name]
    assert min(matched.values()) > 20, matched


def test_agrees_with_the_transcription_on_all_gsm8k_test_golds(data_dir: Path) -> None:
    seen = 0
    for line in (data_dir / "gsm8k" / "test.jsonl").open(encoding="utf-8"):
        answer = json.loads(line)["answer"]
        final = answer.split("#### ")[-1]
        for completion in (
            answer,
            answer.replace("#### ", "The answer is ") + ".",
            answer.replace("#### ", "#### $"),
            answer + "\n\nQuestion: Tom has 5 apples.\nAnswer: #### 7",
            answer.rsplit("####", 1)[0],
        ):
            assert published_grades(completion, answer) == transcribed(completion, answer)
        assert verdicts(answer, answer) == verdicts(answer, final) == (True, True, True, False)
        seen += 1
    assert seen == 1_319
