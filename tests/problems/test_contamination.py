"""The number-masked n-gram check."""

from __future__ import annotations

import itertools

import pytest

from mathtune.errors import DataError
from mathtune.problems.contamination import (
    Overlap,
    WindowIndex,
    masked_ngrams,
    masked_words,
    overlap,
)
from mathtune.records import Problem
from timing_for_tests import least_seconds


def problem(id: str, question: str) -> Problem:
    return Problem(id, question, "", "")


def test_words_are_lower_case_bare_and_without_numbers() -> None:
    text = "Tom's 3 cats eat $1,250.50 of food, twenty-five tins (1/2 kg)!"
    assert masked_words(text) == [
        "toms",
        "#",
        "cats",
        "eat",
        "#",
        "of",
        "food",
        "#",
        "tins",
        "#",
        "kg",
    ]


def test_windows_are_all_runs_of_n_words() -> None:
    assert list(masked_ngrams("a b c d", n=3)) == ["a b c", "b c d"]
    assert list(masked_ngrams("a b a b a", n=2)) == ["a b", "b a"]


def test_a_short_text_is_compared_whole() -> None:
    assert list(masked_ngrams("What is 3 + 4?", n=13)) == ["what is #"]
    assert not masked_ngrams("?!", n=13)
    short, longer = (
        problem("s", "What is 3 + 4?"),
        problem("l", "What is 3 + 4 and so on" + " x" * 9),
    )
    assert not list(overlap([longer], [short]))
    assert list(overlap([problem("t", "what is 12 + 9")], [short])) == [
        Overlap("t", "s", "what is #")
    ]


def test_a_question_with_other_numbers_is_found_and_one_with_other_words_is_not() -> None:
    words = [f"w{chr(97 + i)}" for i in range(20)]
    test = [problem("test", " ".join(words) + " 7 apples")]
    same_run_of_13 = problem("hit", "before " + " ".join(words[4:17]) + " after")
    same_run_of_12 = problem("miss", "before " + " ".join(words[4:16]) + " after")
    found = overlap([same_run_of_13, same_run_of_12], test)
    assert list(found) == [Overlap("hit", "test", " ".join(words[4:17]))]


def test_each_pair_comes_once_with_every_test_question_it_touches() -> None:
    text = " ".join(f"w{chr(97 + i)}" for i in range(15))  # 3 windows of 13
    found = overlap([problem("a", text)], [problem("x", text), problem("y", text.upper())])
    assert [(o.train_id, o.test_id) for o in found] == [("a", "x"), ("a", "y")]


def test_a_window_has_at_least_one_word() -> None:
    with pytest.raises(DataError, match="n is 0"):
        masked_ngrams("a b", n=0)


def test_time_is_linear_in_the_length_of_a_text() -> None:
    def seconds(words: int) -> float:
        text = " ".join(f"word{i % 977}" for i in range(words))
        pair = [problem("a", text)], [problem("b", "x " + text)]
        return least_seconds(lambda: list(overlap(*pair)), enough=0.0, tries=3)

    # Eight times the words may take eight times as long, with room for a busy machine, not 64.
    assert seconds(80_000) < 30 * max(seconds(10_000), 1e-3)


def test_pairs_come_one_by_one_since_questions_of_one_template_have_millions() -> None:
    text = " ".join(f"w{chr(97 + i)}" for i in range(15))
    endless = (problem(f"train {n}", text) for n in itertools.count())
    found = overlap(endless, [problem(f"test {n}", text) for n in range(3)])
    pairs = [(o.train_id, o.test_id) for o in itertools.islice(found, 4)]
    assert pairs == [
        *(("train 0", f"test {n}") for n in range(3)),
        ("train 1", "test 0"),
    ]


def test_the_first_pair_of_a_question_is_enough_to_know_that_there_is_one() -> None:
    text = " ".join(f"w{chr(97 + i)}" for i in range(15))
    index = WindowIndex([problem("a", "x " + text), problem("b", text)])
    assert index.first(text) == ("a", " ".join(text.split()[:13]))
    assert index.first("other words") is None
