"""``data_check``: one pass over a source, and what it counts."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from problem_rows import solved

import mathtune as mt
from mathtune.problems.check.duplicates import RepeatFinder
from mathtune.records import Problem

pytestmark = pytest.mark.usefixtures("no_data_dir")

Write = Callable[..., str]

ORCA = [  # rows like those of microsoft/orca-math-word-problems-200k
    {
        "question": "Jungkook is the 5th place. Find the number of people who crossed the finish "
        "line faster than Jungkook.",
        "answer": "If Jungkook is in 5th place, then 4 people crossed the finish line faster "
        "than him.",
    },
    {
        "question": "The sum of a number and its half is 24. What is the number?",
        "answer": "Let x be the number. Then 1.5x = 24, so x = 24 / 1.5 = 16.\n\nAnswer: 16",
    },
    {
        "question": "A book has 200 pages and Jimin reads 35 of them. How many pages are left?",
        "answer": "Jimin has 200 - 35 = 165 pages left. So the answer is \\boxed{165}.",
    },
    {
        "question": "A train of 240 m passes a pole in 12 seconds. What is its speed?",
        "answer": "Speed = 240 m / 12 s = 20 m/s.\n\nTherefore, the speed of the train is 20 m/s.",
    },
    {
        "question": "Is a square always a rectangle?",
        "answer": "Yes, since all of its angles are right angles.",
    },
]

TEST = {
    "question": "Mrs. Lim milks her cows twice a day. Yesterday morning she got 68 gallons of milk "
    "and in the evening 82 gallons. This morning she got 18 gallons fewer than yesterday morning. "
    "After selling some gallons of milk in the afternoon, Mrs. Lim has only 24 gallons left. How "
    "much was her revenue for the milk if each gallon costs $3.50?",
    "answer": "#### 616",
}


def test_orca_math_golds_come_with_where_and_how_sure(jsonl: Write) -> None:
    found = mt.data_check({"name": "orca-math", "path": jsonl("train.jsonl", ORCA)})
    assert dict(found.golds) == {
        "the last of several numbers": 1,
        "the only number of the last sentence with a number": 1,
        'after "Answer:" or "the answer is"': 1,
        "in \\boxed{}": 1,
    }
    assert found.unusable == {"no final answer": 1}
    assert (found.rows, found.problems, found.left_out) == (5, 4, 1)
    text = "\n".join(found.lines())
    assert "unsure           1  25.0%  the last of several numbers" in text
    assert "sure             1  25.0%  in \\boxed{}" in text


def test_prose_is_refused_in_an_own_file_unless_declared(jsonl: Write) -> None:
    path = jsonl("own.jsonl", ORCA[:4])
    found = mt.data_check(path)
    assert found.unusable == {"final answer only in free prose": 2}
    assert found.places["final answer only in free prose"] == (f"{path}, line 1", f"{path}, line 4")
    assert not found.is_clean
    assert mt.data_check({"path": path, "prose": True}).is_clean


def test_repeats_false_steps_and_bad_golds_are_counted_once_each(jsonl: Write) -> None:
    other_answer = {**solved(1), "answer": "#### 77"}
    other_solution = {**solved(1), "answer": "There is 1.\n#### 1"}
    wrong = {"question": "Two and two?", "answer": "2+2=<<2+2=5>>5\n#### 5"}
    rows = [solved(1), solved(2), solved(1), other_answer, other_solution, wrong, {"question": "?"}]
    path = jsonl("train.jsonl", rows)
    found = mt.data_check(path)
    repeats = found.repeats
    assert (repeats.duplicates, repeats.other_answers, repeats.other_solutions) == (1, 1, 1)
    assert repeats.examples == ((1, 3),)
    assert found.false_steps == 1
    assert found.false_step_examples[0].row == f"{path}, line 6"
    assert found.false_step_examples[0].exact == "4"
    assert found.left_out == 3


def test_a_row_counts_by_the_surest_measure_and_is_written_next_to_the_test_question(
    jsonl: Write, tmp_path: Path
) -> None:
    other_numbers = {**TEST, "question": TEST["question"].replace("68", "75").replace("82", "91")}
    reworded = {
        "question": "Twice a day Mr. Ono milks his cows. He got 70 gallons of milk yesterday "
        "morning and 85 gallons in the evening; this morning there were 20 gallons fewer than "
        "yesterday morning. In the afternoon he sold some of the milk, and only 30 gallons are "
        "left. With a price of $2.50 a gallon, how much revenue did he have from the milk?",
        "answer": "#### 500",
    }
    path = jsonl("train.jsonl", [solved(5), TEST, other_numbers, reworded])
    output = tmp_path / "pairs.jsonl"
    found = mt.data_check(path, against=jsonl("test.jsonl", [TEST, solved(900)]), output=output)
    assert found.overlaps == {
        "same question": 1,
        "shares 13 words, numbers masked": 1,
        "in other words": 1,
    }
    assert found.left_out == 2 and not found.is_clean
    pairs = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [pair["row"] for pair in pairs] == [f"{path}, line {n}" for n in (2, 3, 4)]
    assert all(pair["test_question"] == TEST["question"] for pair in pairs)
    assert pairs[2]["question"] == reworded["question"] and pairs[2]["similarity"] > 0.445
    assert pairs[1]["shared"].startswith("mrs lim milks")


def test_a_test_question_in_a_row_without_an_answer_is_not_hidden_by_that(jsonl: Write) -> None:
    prose = {"question": TEST["question"], "answer": "He has 12 of 3 boxes left in the end."}
    found = mt.data_check(jsonl("a.jsonl", [prose, solved(2)]), against=jsonl("t.jsonl", [TEST]))
    assert found.overlaps == {"same question": 1}


def test_a_failed_check_leaves_the_old_output_and_no_temporary(
    jsonl: Write, tmp_path: Path
) -> None:
    output = tmp_path / "pairs.jsonl"
    output.write_text("old")
    with pytest.raises(mt.MathtuneError, match="does not exist"):
        mt.data_check(
            tmp_path / "none.jsonl", against=jsonl("t.jsonl", [TEST]), output=output, overwrite=True
        )
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.glob("*pairs*")] == ["pairs.jsonl"]


def test_faults_of_the_source_and_of_a_test_set_come_together(tmp_path: Path) -> None:
    with pytest.raises(mt.MathtuneError) as caught:
        mt.data_check(tmp_path / "a.jsonl", against=[str(tmp_path / "b.jsonl")])
    assert "a.jsonl does not exist" in str(caught.value)
    assert "b.jsonl does not exist" in str(caught.value)


def test_rows_cost_little_more_than_their_hashes() -> None:
    def held(rows: int) -> int:
        finder = RepeatFinder()
        tracemalloc.start()
        for number in range(rows):
            finder.add(number, Problem("", f"question {number}", "x" * 500, str(number)))
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    assert held(20_000) < 20_000 * 50


def test_rows_of_other_columns_are_counted_and_the_rest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows: list[Any] = [
        solved(1),
        *({"question": {f"k{n}": n}, "answer": "#### 1"} for n in range(9)),
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = mt.data_check(path)
    assert found.rows == 10 and sum(found.unusable.values()) == 9
