from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from mathtune.errors import DataError
from mathtune.evaluation.perplexity import Perplexity
from mathtune.evaluation.predictions.timing import Timing
from mathtune.evaluation.summary import summarise, voted

MakeRow = Callable[..., dict[str, Any]]


def summary_of(rows: list[dict[str, Any]], **others: Any) -> dict[str, Any]:
    return summarise(rows, model="base", predictions="predictions/base.jsonl", **others)


def test_every_figure_of_a_small_evaluation(make_row: MakeRow) -> None:
    rows = [
        make_row("a", type="cost", steps=2, tokens=10, published={"openai": True, "strict": False}),
        make_row("b", type="cost", steps=10, tokens=20, method="last_number"),
        make_row("c", False, type="age", steps=2, tokens=30, error="arithmetic_slip"),
        make_row(
            "d",
            False,
            tokens=41,
            outcome="truncated",
            stop_reason="length",
            method=None,
            extracted=None,
            error="format",
            inserted_tokens=6,
        ),
    ]
    rows[1]["published"] = rows[2]["published"] = rows[3]["published"] = {
        "openai": False,
        "strict": True,
    }
    found = summary_of(rows)
    low, high = proportion_confint(2, 4, method="wilson")
    assert found["exact_match"] == {
        "value": 0.5,
        "low": pytest.approx(low),
        "high": pytest.approx(high),
        "correct": 2,
        "n": 4,
    }
    assert found["n"] == 4
    assert (found["model"], found["set"], found["calculator"]) == ("base", "test set", False)
    assert {name: r["correct"] for name, r in found["published"].items()} == {
        "openai": 1,
        "strict": 3,
    }
    assert found["outcomes"] == {
        "correct": 2,
        "wrong": 1,
        "no_answer": 0,
        "truncated": 1,
        "ungradable": 0,
    }
    assert found["errors"] == {"arithmetic_slip": 1, "reasoning": 0, "format": 1}
    assert found["methods"] == {"hash": 2, "last_number": 1, "none": 1}
    assert found["stop_reasons"] == {"eos": 3, "length": 1}
    assert found["mean_tokens"] == 101 / 4
    assert found["inserted_tokens"] == 6
    by_type = {name: (r["correct"], r["n"]) for name, r in found["by_type"].items()}
    assert by_type == {"age": (0, 1), "cost": (2, 2)}  # "d" has no type and is in none
    assert [(name, r["correct"], r["n"]) for name, r in found["by_steps"].items()] == [
        ("2", 1, 2),
        ("10", 1, 1),  # by number, not by letter
    ]
    assert found["seconds_per_problem"] is None
    assert found["perplexity"] is None
    assert "majority" not in found
    json.dumps(found, allow_nan=False)


def test_speed_and_perplexity_are_passed_on(make_row: MakeRow) -> None:
    found = summary_of(
        [make_row("a")],
        timing=Timing(seconds=3.0, tokens=60, completions=12),
        perplexity=Perplexity(2.5, 7.0, 10, 20),
    )
    assert found["seconds_per_problem"] == 0.25
    assert found["tokens_per_second"] == 20.0
    assert found["perplexity"]["completion"] == 2.5


def test_several_samples(make_row: MakeRow) -> None:
    def sampled(id_: str, answers: list[str | None]) -> list[dict[str, Any]]:
        return [
            make_row(
                id_,
                answer == "7",
                samples=4,
                sample=sample,
                extracted=answer,
                outcome="no_answer" if answer is None else "correct" if answer == "7" else "wrong",
            )
            for sample, answer in enumerate(answers)
        ]

    rows = [
        *sampled("a", ["7", "8", "7", "9"]),  # the majority is right; 2 of 4
        *sampled("b", ["8", "8.0", "7", "7"]),  # a tie of equal numbers: the first, wrong; 2 of 4
        *sampled("c", [None, None, None, "7"]),  # one vote is enough; 1 of 4
        *sampled("d", [None, None, None, None]),  # 0 of 4
    ]
    random.Random(0).shuffle(rows)
    found = summary_of(rows)
    assert (found["n"], found["samples"]) == (4, 4)
    assert found["exact_match"]["value"] == (2 + 2 + 1 + 0) / 16
    assert found["exact_match"]["correct"] == 5 / 4
    assert found["exact_match"]["n"] == 4
    assert found["majority"]["correct"] == 2
    # pass@2, the chance that two of four hold a right one: with two right 1 - C(2,2)/C(4,2) = 5/6
    # (twice), with one right 1 - C(3,2)/C(4,2) = 1/2, with none 0.
    assert found["pass_at"] == {
        "1": pytest.approx(5 / 16),
        "2": pytest.approx((5 / 6 + 5 / 6 + 1 / 2 + 0) / 4),
        "4": 3 / 4,
    }
    # maj@2 over the blocks 1-2 and 3-4, a tie going to the first: a 7 | 7, b 8 | 7, c none | 7.
    assert found["majority_at"] == {
        "1": pytest.approx(5 / 16),
        "2": pytest.approx((1 + 1 / 2 + 1 / 2 + 0) / 4),
        "4": 2 / 4,
    }
    assert found["solved"] == {"never": 1, "sometimes": 3, "always": 0}
    assert sum(found["outcomes"].values()) == 16


def test_equal_numbers_vote_together_and_other_texts_by_themselves(make_row: MakeRow) -> None:
    def winner(*extracted: str) -> str:
        rows = [
            make_row("a", False, samples=len(extracted), sample=i, extracted=text)
            for i, text in enumerate(extracted)
        ]
        return str(voted(rows)["extracted"])

    assert winner("9", "1,000", "$1000.00", "1000") == "1,000"
    assert winner("9", "1/2", "0.5") == "1/2"
    assert winner("x + 1", "2", " x + 1") == "x + 1"
    assert winner("50", "50%", "50%") == "50%"


def test_rows_that_are_not_one_whole_evaluation_are_refused(make_row: MakeRow) -> None:
    with pytest.raises(DataError, match="no rows"):
        summary_of([])
    with pytest.raises(DataError, match="set 'test set' and 'other'"):
        summary_of([make_row("a"), make_row("b", set="other")])
    with pytest.raises(DataError, match="rows have decoding"):
        summary_of([make_row("a"), make_row("b", decoding={"temperature": 1.0})])
    with pytest.raises(DataError, match=r"'a' has samples \[0, 0\], expected 0 to 0"):
        summary_of([make_row("a"), make_row("a")])
    with pytest.raises(DataError, match="not finished"):
        summary_of([make_row("a", samples=2)])
