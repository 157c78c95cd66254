"""Shots drawn from training problems: by seed, and never a test problem."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mathtune.config.schema import DataConfig, SourceConfig
from mathtune.errors import DataError
from mathtune.problems import check_shots, draw_shots, file_shots

SourceRow = dict[str, str]

NAMES = [
    "Ada",
    "Bo",
    "Cid",
    "Dee",
    "Eli",
    "Fay",
    "Gus",
    "Hal",
    "Ida",
    "Jo",
    "Kim",
    "Lu",
    "Mo",
    "Ned",
    "Ora",
    "Pia",
    "Quin",
    "Rex",
    "Sue",
    "Ty",
]
TEST = "{} walks along the river to the old mill and counts {} herons on the way. How many legs?"


def solved(question: str, n: int) -> SourceRow:
    return {"question": question, "answer": f"That is {n}.\n#### {n}"}


TRAIN_ROWS = [solved(f"{name} has {n} coins. How many?", n) for n, name in enumerate(NAMES, 2)]
TEST_ROWS = [solved(TEST.format(name, n), 2 * n) for n, name in enumerate(NAMES, 2)]


def write(path: Path, rows: list[SourceRow]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def data(
    folder: Path, train: list[SourceRow], test: list[SourceRow], **others: object
) -> DataConfig:
    return DataConfig(
        train=str(write(folder / "train.jsonl", train)),
        test=str(write(folder / "test.jsonl", test)),
        **others,
    )


def test_by_seed_in_any_order_of_the_file(tmp_path: Path) -> None:
    config = data(tmp_path, TRAIN_ROWS, TEST_ROWS)
    five = draw_shots(config, 5, seed=1)
    assert len({shot.id for shot in five}) == 5
    shuffled = random.Random(0).sample(TRAIN_ROWS, len(TRAIN_ROWS))
    assert [shot.id for shot in draw_shots(data(tmp_path, shuffled, TEST_ROWS), 6, seed=1)][:5] == [
        shot.id for shot in five
    ]
    assert draw_shots(config, 5, seed=2) != five


def test_no_test_problem_is_drawn_also_beyond_the_limit(tmp_path: Path) -> None:
    # Training holds every test question, some with other numbers or case: only two rows are left.
    copies = [solved(row["question"].upper(), 1) for row in TEST_ROWS[:5]]
    rewritten = [solved(TEST.format("Zoe", n), n) for n in range(90, 95)]
    rows = [*TEST_ROWS, *copies, *rewritten, *TRAIN_ROWS[:2]]
    config = data(tmp_path, rows, TEST_ROWS, max_test_samples=1)
    found = draw_shots(config, 2, seed=0)
    assert {shot.question for shot in found} == {row["question"] for row in TRAIN_ROWS[:2]}
    with pytest.raises(DataError, match=r"prompt\.shots=3, but only 2 .*also in test set"):
        draw_shots(config, 3, seed=0)


def test_a_file_is_shown_in_its_order(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write(tmp_path / "mine.jsonl", TRAIN_ROWS[:4])))
    questions = [shot.question for shot in file_shots(source, 3)]
    assert questions == [row["question"] for row in TRAIN_ROWS[:3]]
    with pytest.raises(DataError, match=r"prompt\.shots=5, but .*mine\.jsonl holds 4"):
        file_shots(source, 5)


def test_a_named_example_that_is_a_test_problem_is_refused(tmp_path: Path) -> None:
    config = data(tmp_path, TRAIN_ROWS, TEST_ROWS, max_test_samples=1)
    fine = file_shots(SourceConfig(path=str(write(tmp_path / "fine.jsonl", TRAIN_ROWS))), 4)
    check_shots(fine, config, seed=0)
    taken = [*TRAIN_ROWS[:3], TEST_ROWS[-1]]
    shots = file_shots(SourceConfig(path=str(write(tmp_path / "taken.jsonl", taken))), 4)
    with pytest.raises(DataError, match=r"1 of 4 solved examples cannot be shown .*'Ty walks"):
        check_shots(shots, config, seed=0)
