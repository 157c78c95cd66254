"""How often each problem is solved: the share of right samples, with its Wilson interval.

Learning from a model's own answers lives on the problems that are solved sometimes: those never
solved give no right answer to learn, those always solved nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    groups: dict[str, list[PredictionRow]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return [_pass_rate(group, confidence) for group in groups.values()]


def _pass_rate(group: Sequence[PredictionRow], confidence: float) -> PassRate:
    n, correct = len(group), sum(row["correct"] for row in group)
    interval = wilson(correct, n, confidence)
    return {
        "problem_id": group[0]["problem_id"],
        "question": group[0]["question"],
        "type": group[0]["type"],
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
