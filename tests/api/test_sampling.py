"""``mt.sample`` and ``mt.select``: the commands' results as objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mathtune as mt

PROBLEMS = {"generated": "problems", "types": ["equal_groups"], "n": 4, "seed": 5}


def test_samples_are_selected_and_can_be_trained_on(tmp_path: Path) -> None:
    found = mt.sample(
        "tiny-base", PROBLEMS, n=2, temperature=0.5, run_dir=tmp_path / "run",
        overrides=["eval.max_new_tokens=60", "model.dtype=float32"],
    )  # fmt: skip
    assert len(found.rows) == 8 and len(found.evaluations) == 1
    assert {row["decoding"]["temperature"] for row in found.rows} == {0.5}
    rates = mt.pass_rates_of(found)
    assert [each["n"] for each in rates] == [2] * 4
    assert sum(each["correct"] for each in rates) == sum(row["correct"] for row in found.rows)
    selected = mt.select(found, tmp_path / "train.jsonl", gold=True, max_per_problem=1)
    assert (selected.samples, selected.problems, selected.gold) == (8, 4, 4)
    assert selected.kept + sum(selected.dropped.values()) == 8
    assert len(mt.load_problems(selected.path)) == 4  # as a test set each question counts once
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    assert len(lines) == selected.kept + selected.gold
    assert {json.loads(line)["source"] for line in lines} >= {"gold"}


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(mt.MathtuneError, match=r"unknown key select\.golden.*gold"):
        mt.select(tmp_path, tmp_path / "out.jsonl", golden=True)
    with pytest.raises(mt.MathtuneError, match="samples is an empty list"):
        mt.select([], tmp_path / "out.jsonl")
    with pytest.raises(mt.MathtuneError, match=r"n=1\.5 has type float"):
        mt.sample("tiny-base", PROBLEMS, n=1.5, run_dir=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(mt.MathtuneError, match=r"eval\.samples=4 with eval\.temperature=0"):
        mt.sample("tiny-base", PROBLEMS, n=4, temperature=0, run_dir=tmp_path / "run")
