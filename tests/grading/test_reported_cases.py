"""Inputs on which users of other tools found graders wrong; each row of ``cases`` is one test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mathtune.grading import grade

ROWS = [
    pytest.param(json.loads(line), id=f"{path.stem}-{number}")
    for path in sorted((Path(__file__).parent / "cases").glob("grade-*.jsonl"))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
]


def test_no_case_is_missing() -> None:
    assert len(ROWS) == 60


@pytest.mark.parametrize("row", ROWS)
def test_reported_case(row: dict[str, str]) -> None:
    graded = grade(row.get("completion") or row["text"], row["gold"])
    expected = row.get("expect") or row["outcome"]
    if expected == "not correct":
        assert not graded.correct, graded
    else:
        assert graded.outcome.value == expected, graded
