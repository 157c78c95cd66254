"""How often each problem is solved: the share of right samples, with its Wilson interval.

Learning from a model's own answers lives on the problems that are solved sometimes: those never
solved give no right answer to learn, those always solved nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from mathtune import ranks
from mathtune.evaluation.statistics import wilson
from mathtune.records import PredictionRow
from mathtune.storage import write_json


class PassRate(TypedDict):
    """How often one problem was solved."""

    problem_id: str
    question: str
    type: str | None
    n: int
    """Samples."""
    correct: int
    pass_rate: float
    low: float
    """Lower end of the rate's Wilson interval; ``high`` is the upper one."""
    high: float


def pass_rates(rows: Iterable[PredictionRow], confidence: float = 0.95) -> list[PassRate]:
    """Return one entry per problem, in order of first appearance.

    Args:
        rows: Graded samples, of any number per problem.
        confidence: Confidence of the intervals.
    """
    first: dict[str, tuple[str, str | None]] = {}
    n, correct = Counter[str](), Counter[str]()
    for row in rows:
        id_ = row["problem_id"]
        first.setdefault(id_, (row["question"], row["type"]))
        n[id_] += 1
        correct[id_] += row["correct"]
    return [_pass_rate(id_, *first[id_], n[id_], correct[id_], confidence) for id_ in first]


def _pass_rate(
    id_: str, question: str, type_: str | None, n: int, correct: int, confidence: float
) -> PassRate:
    interval = wilson(correct, n, confidence)
    return {
        "problem_id": id_,
        "question": question,
        "type": type_,
        "n": n,
        "correct": correct,
        "pass_rate": correct / n,
        "low": interval.low,
        "high": interval.high,
    }


def pass_rates_path(predictions: Path) -> Path:
    """Return the file next to a predictions file."""
    return predictions.with_name(predictions.name + ".pass_rates.json")


def write_pass_rates(
    predictions: Path, rows: Iterable[PredictionRow], confidence: float = 0.95
) -> None:
    """Write the pass rates next to a predictions file.

    Raises:
        DiskError: It could not be written.
    """
    if ranks.is_first():
        problems = pass_rates(rows, confidence)
        write_json(pass_rates_path(predictions), {"confidence": confidence, "problems": problems})
