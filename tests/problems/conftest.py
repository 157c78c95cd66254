"""Shared by the tests of problems: writing files, the real data folder, and the hub on loopback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for hub_server, which other rooms use too


@pytest.fixture(autouse=True)
def no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's data folder must not decide what a test reads; ``real_data`` sets it again."""
    monkeypatch.setenv("MATHTUNE_DATA_DIR", "")


REAL_DATA = os.environ.get("MATHTUNE_DATA_DIR", "")


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the published files; a test that needs it skips where there is none."""
    if not REAL_DATA or not (Path(REAL_DATA) / "gsm8k" / "train.jsonl").is_file():
        pytest.skip("MATHTUNE_DATA_DIR is unset or holds no gsm8k/train.jsonl")
    folder = Path(REAL_DATA).resolve()
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(folder))
    return folder


WriteJsonl = Callable[[str, Iterable[Any]], str]


@pytest.fixture
def jsonl(tmp_path: Path) -> WriteJsonl:
    """Write objects as lines of a file in the temporary folder; return its path."""

    def write(name: str, rows: Iterable[Any]) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


STORIES = (
    "Ann has {} red apples and gives two of them to her brother Tom before lunch. How many are left?",
    "A baker sells {} loaves each morning at the old market beside the river. How many in a week?",
    "The train to Lyon has {} seats in every carriage and twelve carriages. How many seats in all?",
)


def solved(number: int, gold: int | None = None) -> dict[str, str]:
    """A row in GSM8K's format; rows of different numbers are different questions.

    No word repeats often enough between two rows for a shared window of 13 words.
    """
    gold = number if gold is None else gold
    words = " ".join(_word(number * 31 + i) for i in range(6))
    return {
        "question": f"Case {words}: {STORIES[number % 3].format(number)[:40]} {words}?",
        "answer": f"It is {gold}+0 = <<{gold}+0={gold}>>{gold}.\n#### {gold}",
    }


def _word(number: int) -> str:
    """A made-up word that depends on the number, without digits."""
    letters = []
    number = number * 2654435761 % 2**32
    for _ in range(6):
        number, letter = divmod(number, 26)
        letters.append(chr(ord("a") + letter))
    return "".join(letters)
