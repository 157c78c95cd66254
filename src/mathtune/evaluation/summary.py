"""Rows → the figures of one evaluation, every rate with its interval."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from mathtune.errors import DataError
from mathtune.evaluation.perplexity import Perplexity
from mathtune.evaluation.predictions.timing import Timing
from mathtune.evaluation.request import ERROR_NAMES
from mathtune.evaluation.statistics import majority, pass_at_k, wilson
from mathtune.grading.numbers import read_number
from mathtune.records import Outcome, PredictionRow, StopReason

Rate = dict[str, Any]
"""``{"value", "low", "high", "correct", "n"}``: a share with its Wilson interval."""

WITH_ANSWER = (Outcome.CORRECT.value, Outcome.WRONG.value)

WITHOUT_ANSWER = (Outcome.NO_ANSWER.value, Outcome.TRUNCATED.value)

SIGNS: dict[str, Callable[[PredictionRow], bool]] = {
    "no_answer": lambda row: row["outcome"] in WITHOUT_ANSWER,
    "truncated": lambda row: row["stop_reason"] == StopReason.LENGTH.value,
    "repetition": lambda row: row["stop_reason"] == StopReason.REPETITION.value,
    "no_eos": lambda row: row["stop_reason"] != StopReason.EOS.value,
    "last_resort": lambda row: row["method"] == "last_number",
}
"""Signs of trouble with the form of a completion: no final answer in it, cut off or not; ended by
the token limit; stopped because it repeated itself; ended by either or by a stop string; an answer
found only as the last number of the text. One completion can show several, even a correct one."""


def rate(correct: float, n: int, confidence: float = 0.95) -> Rate:
    """Return ``correct`` of ``n`` as a share with its Wilson interval."""
    interval = wilson(correct, n, confidence)
    return {
        "value": correct / n,
        "low": interval.low,
        "high": interval.high,
        "correct": correct,
        "n": n,
    }


def whole_evaluation(rows: Iterable[PredictionRow]) -> tuple[dict[str, list[PredictionRow]], int]:
    """Group the rows of one evaluation by problem id, and return the number of samples per problem.

    Problems are in order of first appearance, samples in theirs.

    Raises:
        DataError: If there are no rows, or rows of several sets or decodings, or a sample is
            missing or repeated.
    """
    groups: dict[str, list[PredictionRow]] = {}
    first: PredictionRow | None = None
    for row in rows:
        if first is None:
            first = row
        for field in ("set", "style", "decoding"):
            if row[field] != first[field]:
                raise DataError(
                    f"rows have {field} {first[field]!r} and {row[field]!r}; "
                    "give the rows of one evaluation at a time"
                )
        groups.setdefault(row["problem_id"], []).append(row)
    if first is None:
        raise DataError("there are no rows; evaluate at least one problem first")
    samples = int(first["decoding"]["samples"])
    for id_, group in groups.items():
        group.sort(key=lambda row: int(row["sample"]))
        found = [row["sample"] for row in group]
        if found != list(range(samples)):
            raise DataError(
                f"problem {id_!r} has samples {found}, expected 0 to {samples - 1} once each; the "
                "evaluation was not finished, or files were joined: start it again"
            )
    return groups, samples


def voted(samples: Sequence[PredictionRow]) -> PredictionRow:
    """Return the row that represents a problem: the first sample with the majority's answer.

    Samples without a valid answer do not vote, and of equally frequent answers the first wins
    (``statistics.majority``). If none votes it is the first sample, which is then not correct.
    """
    if len(samples) == 1:
        return samples[0]
    answers = [vote(row) for row in samples]
    winner = majority(answers)
    return samples[0] if winner is None else samples[answers.index(winner)]


def majority_at_k(groups: Iterable[Sequence[PredictionRow]], k: int) -> float:
    """Return the share of problems whose majority answer among ``k`` samples is right.

    It is the mean over the disjoint blocks of ``k`` consecutive samples that fit in the samples
    drawn. Blocks keep the estimate unbiased: samples are independent, so each is a fresh draw.
    """
    shares = []
    for group in groups:
        starts = range(0, len(group) - k + 1, k)
        shares.append(sum(voted(group[at : at + k])["correct"] for at in starts) / len(starts))
    return sum(shares) / len(shares)


def summarise(
    rows: Iterable[PredictionRow],
    *,
    model: str,
    predictions: str,
    timing: Timing | None = None,
    perplexity: Perplexity | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return the ``evaluations[]`` object of ``results.json`` for one model, set and decoding.

    With several samples per problem, each rate is the mean over samples; its ``n`` is the number of
    problems, because samples of one problem are not independent, which makes the interval too wide
    rather than too narrow. ``majority`` (maj@k of all samples), ``majority_at`` and ``pass_at``
    (``{"1": …, "k": …}``, means over problems) and ``solved`` (how many problems are ``never``,
    ``sometimes``, ``always`` solved) are then there as well. Outcomes, errors, methods and stop
    reasons count completions.
    ``mean_tokens`` and ``tokens_per_second`` are None where a server did not count all tokens.

    Args:
        rows: Rows of one evaluation, in any order.
        model: The model's label.
        predictions: Path of the rows.
        timing: How long they took, where known.
        perplexity: Perplexity of the same model on the same set, if measured.
        confidence: Confidence of all intervals.

    Raises:
        DataError: If the rows are not those of one complete evaluation.
    """
    groups, samples = whole_evaluation(rows)
    everything = [row for group in groups.values() for row in group]
    first = everything[0]
    return {
        "model": model,
        "set": first["set"],
        "calculator": first["decoding"]["calculator"],
        "n": len(groups),
        "samples": samples,
        "predictions": predictions,
        "confidence": confidence,
        **_rates(list(groups.values()), first["published"], samples, confidence),
        **_counts_of(everything),
        **_effort(everything, timing, samples),
        "perplexity": perplexity.result() if perplexity else None,
        **(_over_samples(list(groups.values()), samples, confidence) if samples > 1 else {}),
    }


def _rates(
    groups: Sequence[Sequence[PredictionRow]],
    published: Iterable[str],
    samples: int,
    confidence: float,
) -> dict[str, Any]:
    """Return the shares of answers that are right, under each grader, or show a sign."""

    def share(
        kept: Sequence[Sequence[PredictionRow]], right: Callable[[PredictionRow], bool]
    ) -> Rate:
        correct = sum(right(row) for group in kept for row in group)
        return rate(correct if samples == 1 else correct / samples, len(kept), confidence)

    def shares_by(field: Literal["type", "steps"]) -> dict[str, Rate]:
        parts: dict[Any, list[Sequence[PredictionRow]]] = defaultdict(list)
        for group in groups:
            if group[0][field] is not None:
                parts[group[0][field]].append(group)
        return {str(name): share(parts[name], _correct) for name in sorted(parts)}

    return {
        "exact_match": share(groups, _correct),
        "published": {name: share(groups, partial(_published, name)) for name in published},
        "rates": {name: share(groups, shows) for name, shows in SIGNS.items()},
        "by_type": shares_by("type"),
        "by_steps": shares_by("steps"),
    }


def _counts_of(rows: Sequence[PredictionRow]) -> dict[str, dict[str, int]]:
    return {
        "outcomes": _counts((row["outcome"] for row in rows), (o.value for o in Outcome)),
        "errors": _counts(
            (row["error"] for row in rows if row["error"]),
            (name for name in ERROR_NAMES.values() if name),
        ),
        "methods": _counts(row["method"] or "none" for row in rows),
        "stop_reasons": _counts(row["stop_reason"] for row in rows),
    }


def _effort(
    rows: Sequence[PredictionRow], timing: Timing | None, samples: int
) -> dict[str, float | int | None]:
    """Return tokens and seconds; None where a server did not count all tokens."""
    tokens = [row["tokens"] for row in rows if row["tokens"] is not None]
    counted = len(tokens) == len(rows)
    return {
        "mean_tokens": sum(tokens) / len(tokens) if counted else None,
        "inserted_tokens": sum(row["inserted_tokens"] for row in rows),
        "seconds_per_problem": timing.seconds_per_problem(samples) if timing else None,
        "tokens_per_second": timing.tokens_per_second if timing and counted else None,
    }


def _over_samples(
    groups: Sequence[Sequence[PredictionRow]], samples: int, confidence: float
) -> dict[str, Any]:
    """Return what only several samples per problem show."""
    winners = sum(voted(group)["correct"] for group in groups)
    rights = [sum(map(_correct, group)) for group in groups]
    never, always = rights.count(0), rights.count(samples)
    return {
        "majority": rate(winners, len(groups), confidence),
        "majority_at": {str(k): majority_at_k(groups, k) for k in _powers_of_two(samples)},
        "pass_at": {
            str(k): sum(pass_at_k(samples, right, k) for right in rights) / len(rights)
            for k in _powers_of_two(samples)
        },
        "solved": {
            "never": never,
            "sometimes": len(rights) - never - always,
            "always": always,
        },
    }


def vote(row: PredictionRow) -> Hashable | None:
    """Return what a sample votes for: its number's value, or the text where it is not a number.

    The gold answer plays no role, so two answers that are both correct by rounding are two votes.
    """
    if row["outcome"] not in WITH_ANSWER:
        return None
    text = (row["extracted"] or "").strip()
    number = read_number(text)
    return text if number is None else (number.value, number.percent)


def _published(grader: str, row: PredictionRow) -> bool:
    return bool(row["published"][grader])


def _counts(found: Iterable[str], known: Iterable[str] = ()) -> dict[str, int]:
    """Count what was found: known names first, also where zero, then the others by frequency."""
    counter = Counter(found)
    counts = {name: counter.pop(name, 0) for name in known}
    return {**counts, **dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))}


def _correct(row: PredictionRow) -> bool:
    return bool(row["correct"])


def _powers_of_two(limit: int) -> list[int]:
    """1, 2, 4, … below the limit, and the limit."""
    return [*(2**i for i in range((limit - 1).bit_length())), limit]
