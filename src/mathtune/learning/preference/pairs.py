"""Pairs of a right and a wrong answer to one problem, from a file of graded samples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mathtune.config.schema import DpoConfig
from mathtune.errors import DataError
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.learning.preference.loss import Pair
from mathtune.prompts.render import Renderer
from mathtune.records import CUT_OFF, Outcome, PredictionRow, Problem

log = logging.getLogger(__name__)

_CERTAIN_WRONG = (Outcome.WRONG.value, Outcome.NO_ANSWER.value)


def pairs_of(
    rows: Iterable[PredictionRow],
    problems: Sequence[Problem],
    renderer: Renderer,
    *,
    max_pairs: int,
    max_length: int,
    source: str,
) -> list[Pair]:
    """Return pairs of the problems' answers in order; what was left out is counted and reported.

    An answer that was cut is in no pair: with an end put after it, a model would learn to stop in
    the middle.

    Args:
        rows: Graded samples, several per problem.
        problems: The training problems; samples of others are left out.
        renderer: Makes texts of them.
        max_pairs: Most pairs per problem.
        max_length: Longest text in tokens.
        source: Name of the file, for messages.

    Raises:
        DataError: There is no pair.
    """
    left_out: Counter[str] = Counter()
    by_id = {problem.id: problem for problem in problems}
    right: dict[str, list[str]] = {name: [] for name in by_id}
    wrong: dict[str, list[str]] = {name: [] for name in by_id}
    for row in rows:
        reason = _why_not(row, by_id)
        if reason is None:
            answers = (right if row["correct"] else wrong)[row["problem_id"]]
            if (text := row["completion"].strip()) not in answers:
                answers.append(text)
                continue
            reason = "answers given before to the same problem"
        left_out[reason] += 1
    pairs: list[Pair] = []
    for name, problem in by_id.items():
        if not (right[name] and wrong[name]):
            if right[name] or wrong[name]:
                left_out["problems with only right or only wrong answers"] += 1
            continue
        for pair in _paired(problem, right[name], wrong[name], renderer, max_pairs):
            if max(pair.lengths) <= max_length:
                pairs.append(pair)
            else:
                left_out[f"pairs longer than train.max_length={max_length} tokens"] += 1
    reasons = ", ".join(f"{count:,} {what}" for what, count in left_out.most_common())
    if not pairs:
        raise DataError(
            f"{source} gives no pair of a right and a wrong answer to a training problem"
            + (f" ({reasons})" if reasons else "")
            + "; sample several answers to each of the problems in data.train"
        )
    log.info(f"{len(pairs):,} pairs from {source}" + (f"; left out: {reasons}" if reasons else ""))
    return pairs


def count_pairs(config: DpoConfig, problems: Sequence[Problem]) -> int:
    """Return how many pairs the samples give, whatever their length, to plan a training.

    Raises:
        DataError: The file cannot be read, or gives none.
    """
    assert config.samples is not None  # the schema asks for it
    by_id = {problem.id: problem for problem in problems}
    answers: dict[str, tuple[set[str], set[str]]] = {name: (set(), set()) for name in by_id}
    for row in read_rows(Path(config.samples)):
        if _why_not(row, by_id) is None:
            answers[row["problem_id"]][bool(row["correct"])].add(row["completion"].strip())
    count = sum(
        min(config.max_pairs, max(len(wrong), len(right)))
        for wrong, right in answers.values()
        if wrong and right
    )
    if not count:
        raise DataError(
            f"{config.samples} gives no pair of a right and a wrong answer to a training problem; "
            "sample several answers to each of the problems in data.train"
        )
    return count


def _why_not(row: PredictionRow, known: dict[str, Problem]) -> str | None:
    """Return why a row is in no pair, or None."""
    if row["problem_id"] not in known:
        return "answers to other problems"
    if row["stop_reason"] in CUT_OFF:
        return "answers that were cut"
    if not row["completion"].strip():
        return "empty answers"
    if not row["correct"] and row["outcome"] not in _CERTAIN_WRONG:
        return "answers that could not be graded"
    return None


def _paired(
    problem: Problem,
    right: Sequence[str],
    wrong: Sequence[str],
    renderer: Renderer,
    max_pairs: int,
) -> Iterator[Pair]:
    """Yield pairs so that each answer is used about equally often."""
    for number in range(min(max_pairs, max(len(right), len(wrong)))):
        chosen, rejected = right[number % len(right)], wrong[number % len(wrong)]
        yield Pair(
            renderer.example(replace(problem, answer=chosen)),
            renderer.example(replace(problem, answer=rejected)),
        )
