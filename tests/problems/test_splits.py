from __future__ import annotations

import hashlib
import random

import pytest

from mathtune.errors import DataError
from mathtune.problems.splits import first_by_hash, hash_share, hold_out, question_key
from mathtune.records import Problem, content_id


def problem(number: int, answer: str = "#### 1") -> Problem:
    question = f"Question number {number}?"
    return Problem(content_id(question, answer), question, answer, "1")


PROBLEMS = [problem(i) for i in range(2000)]


def test_the_share_is_the_first_48_bits_of_sha256() -> None:
    digest = hashlib.sha256(b"validation\x1fhow many?").hexdigest()
    assert hash_share("how many?", "validation") == int(digest[:12], 16) / 16**12


def test_split_does_not_depend_on_order() -> None:
    train, validation = hold_out(PROBLEMS, 0.1)
    shuffled = PROBLEMS.copy()
    random.Random(0).shuffle(shuffled)
    train_2, validation_2 = hold_out(shuffled, 0.1)
    assert set(validation) == set(validation_2) and set(train) == set(train_2)
    assert list(train) == [p for p in PROBLEMS if p in set(train)]  # original order


def test_growth_moves_no_problem_to_the_other_side() -> None:
    train, validation = hold_out(PROBLEMS[:1000], 0.1)
    train_2, validation_2 = hold_out(PROBLEMS, 0.1)
    assert set(train) <= set(train_2) and set(validation) <= set(validation_2)


def test_a_larger_fraction_keeps_all_that_was_held_out() -> None:
    assert set(hold_out(PROBLEMS, 0.05)[1]) < set(hold_out(PROBLEMS, 0.1)[1])


def test_the_fraction_is_met_within_four_standard_deviations() -> None:
    # 2000 draws at 0.1: mean 200, standard deviation sqrt(2000 * 0.1 * 0.9) = 13.4
    assert abs(len(hold_out(PROBLEMS, 0.1)[1]) - 200) < 54


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_no_side_is_ever_empty(n: int, fraction: float) -> None:
    train, validation = hold_out(PROBLEMS[:n], fraction)
    assert train and validation and len(train) + len(validation) == n


def test_one_question_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 different training questions cannot be split"):
        hold_out([problem(1), problem(1, "#### 1 too")], 0.5)


def test_solutions_to_one_question_stay_together() -> None:
    several = [problem(i, f"way {way}\n#### 1") for i in range(300) for way in range(3)]
    train, validation = hold_out(several, 0.3)
    assert not {p.question for p in train} & {p.question for p in validation}


def test_white_space_and_case_make_no_other_question() -> None:
    assert question_key("How  many\nApples? ") == question_key("how many apples?")
    assert question_key("How many 3?") != question_key("How many 4?")


def test_a_limit_takes_the_first_by_hash_in_original_order() -> None:
    taken = first_by_hash(PROBLEMS, 50)
    assert len(taken) == 50
    assert list(taken) == [p for p in PROBLEMS if p in set(taken)]
    assert set(first_by_hash(PROBLEMS[::-1], 50)) == set(taken)
    assert set(taken) < set(first_by_hash(PROBLEMS, 51))
    assert first_by_hash(PROBLEMS, None) == tuple(PROBLEMS)
    assert first_by_hash(PROBLEMS[:5], 9) == tuple(PROBLEMS[:5])


def test_what_is_skipped_is_what_a_limit_takes() -> None:
    taken = first_by_hash(PROBLEMS, 50)
    rest = first_by_hash(PROBLEMS, None, skip=50)
    assert len(taken) + len(rest) == len(PROBLEMS)
    assert set(taken) | set(rest) == set(PROBLEMS)
    assert first_by_hash(PROBLEMS, 20, skip=40) == tuple(
        problem
        for problem in first_by_hash(PROBLEMS, 60)
        if problem not in first_by_hash(PROBLEMS, 40)
    )
    assert first_by_hash(PROBLEMS, 3, skip=len(PROBLEMS)) == ()


def test_a_limit_does_not_favour_the_validation_side() -> None:
    """With one hash for both, the 100 lowest of 2000 would all be below a fraction of 0.1."""
    train, validation = hold_out(first_by_hash(PROBLEMS, 100), 0.1)
    assert len(validation) < 30 and len(train) > 70
