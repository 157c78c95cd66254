"""What the worker of the Data tab finds between training and test problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_for_tests import jsonl
from mathtune import config
from mathtune.ui.worker import data

WORDS = "a farmer puts his apples and pears into boxes of the same size and sells"


def test_all_pairs_are_counted_and_the_first_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "PAIRS", 2)
    train = [
        {"question": f"On day {word} {WORDS} {word}. How many are 2 + {n}?", "answer": f"{2 + n}"}
        for n, word in enumerate(("one", "two", "first", "last"), start=3)
    ]
    other = {"question": "What is left of 9 after 4 are gone?", "answer": "5"}
    test = {"question": f"Yesterday {WORDS} them. How many are 5 + 6?", "answer": "11"}
    sources = [{"path": str(jsonl(tmp_path / "test.jsonl", [test]))}]
    recipe = config.load(
        "demo",
        [
            f"data.train={jsonl(tmp_path / 'train.jsonl', [*train, other])}",
            f"data.test={json.dumps([{'label': 'outside', 'sources': sources}])}",
            "data.validation_fraction=0.2",
        ],
    )
    found = data._near(recipe)
    assert found["checked"] == 1 and found["found"] >= 3
    assert len(found["pairs"]) == 2
    assert all(pair[1] == test["question"] and WORDS[:20] in pair[2] for pair in found["pairs"])
