"""The second measure of contamination: test questions in other words.

``paraphrases.jsonl`` holds 75 GSM8K test questions (MIT licence, Cobbe et al. 2021) rewritten by
hand: other names, other numbers, synonyms, sentences in another order. The weights were chosen on
the 50 of ``"tuning"``; the 25 of ``"held_out"`` were written afterwards.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mathtune.problems.contamination import overlap
from mathtune.problems.rewordings import THRESHOLD, RewordingIndex, rewordings
from mathtune.records import Problem
from mathtune.text.lookalikes import plain

ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("paraphrases.jsonl").read_text("utf-8").splitlines()
]


def problem(id: str, question: str) -> Problem:
    return Problem(id, question, "", "")


def found(rows: list[dict[str, str]], index: RewordingIndex) -> int:
    """Count the rows for which the question itself is the best match."""
    hits = [index.find(row["reworded"])[:1] for row in rows]
    return sum(hit[0][0] == row["question"] for hit, row in zip(hits, rows, strict=True) if hit)


def of(name: str) -> list[dict[str, str]]:
    return [row for row in ROWS if row["set"] == name]


def gsm8k(data_dir: Path, split: str) -> list[Problem]:
    lines = (data_dir / "gsm8k" / f"{split}.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["question"] for line in lines]
    return [problem(text, text) for text in texts]


def test_paraphrases_that_share_no_13_words_are_found() -> None:
    index = RewordingIndex(problem(row["question"], row["question"]) for row in ROWS)
    tests = [problem(row["question"], row["question"]) for row in ROWS]
    assert not list(overlap([problem("r", row["reworded"]) for row in ROWS], tests))
    assert found(of("tuning"), index) >= 42
    assert found(of("held_out"), index) >= 17


def test_gsm8k_paraphrases_are_found_and_training_questions_are_not(data_dir: Path) -> None:
    index = RewordingIndex(gsm8k(data_dir, "test"))
    assert found(of("tuning"), index) >= 42
    train = gsm8k(data_dir, "train")[::3]
    flagged = sum(bool(index.find(each.question)) for each in train)
    assert flagged <= 0.004 * len(train)  # half of them are near duplicates: docs/decisions.md


NAMES = ("Zora", "Quentin", "Ludmila", "Thaddeus", "Yevgenia")


def other_numbers(text: str, draw: random.Random) -> str:
    return re.sub(r"\d+", lambda m: str(int(m[0]) + draw.randint(1, 9)), text)


def other_names(text: str, draw: random.Random) -> str:
    names = sorted(set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", text)))
    for name, new in zip(names, draw.sample(NAMES, len(NAMES)), strict=False):
        text = re.sub(rf"\b{name}\b", new, text)
    return other_numbers(text, draw)


@pytest.mark.parametrize(("change", "least"), [(other_numbers, 50), (other_names, 47)])
def test_altered_numbers_and_names_are_found_by_either_measure(
    data_dir: Path, change: Callable[[str, random.Random], str], least: int
) -> None:
    tests = gsm8k(data_dir, "test")
    draw = random.Random(0)
    chosen = draw.sample(tests, 50)
    altered = [problem(each.id, change(each.question, draw)) for each in chosen]
    hits = {(hit.train_id, hit.test_id) for hit in overlap(altered, tests)}
    hits |= {(hit.train_id, hit.test_id) for hit in rewordings(altered, tests)}
    assert sum((each.id, each.id) in hits for each in chosen) >= least


def test_short_questions_of_common_words_are_not_called_the_same() -> None:
    tests = [problem("t", "Ann has 3 apples and buys 4 more. How many apples does she have now?")]
    other = "Bob had 9 books and got 2 more. How many books does Bob have?"
    assert RewordingIndex(tests).find(other) == []


def test_the_order_of_sentences_names_and_numbers_play_no_role() -> None:
    one = (
        "A zookeeper feeds bananas to gorillas and baboons. Gorillas eat 40 bananas a day. "
        "Baboons eat 12. How many bananas does the zookeeper need?"
    )
    other = (
        "Baboons eat 17 bananas. Gorillas eat 55 bananas a day. The zookeeper Ivo feeds both the "
        "gorillas and the baboons. How many bananas does he need?"
    )
    ((test_id, similarity),) = RewordingIndex([problem("t", one)]).find(other)
    assert test_id == "t"
    assert THRESHOLD < 0.65 < similarity < 1


def test_similarity_falls_when_numbers_of_other_kinds_are_stated() -> None:
    text = "A whirligig spins at {} meters while a thingamabob spins at {} of its speed."
    index = RewordingIndex([problem("t", text.format("20", "50%"))])
    same, other = (index.find(text.format("30", n), 0.1)[0][1] for n in ("75%", "4"))
    assert same > other


def test_lookalike_letters_and_invisible_characters_hide_nothing() -> None:
    text = ROWS[0]["question"]
    disguised = text.replace("a", "\u0430").replace("o", "\u043e").replace("ti", "t\u200bi")
    assert disguised != text
    assert plain(disguised) == plain(text)
    assert RewordingIndex([problem("t", text)]).find(disguised)
    assert list(overlap([problem("d", disguised)], [problem("t", text)]))


def test_other_scripts_are_left_as_they_are() -> None:
    russian = "У Анны 3 яблока и 4 груши. Сколько у неё фруктов?"
    assert plain(russian) == russian
    assert plain("\uff12 \ufb01sh, \u00bd left") == "2 fish, 1/2 left"


def test_an_empty_question_and_an_empty_test_set_match_nothing() -> None:
    assert RewordingIndex([]).find("How many?") == []
    assert RewordingIndex([problem("t", "")]).find("") == []
