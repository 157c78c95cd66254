"""Choosing among samples by a verifier, next to the majority's vote."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mathtune import progress, runs
from mathtune.config.schema import Recipe
from mathtune.errors import DataError, RunError
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.evaluation.statistics import holm, mcnemar_exact, paired_score_interval
from mathtune.evaluation.summary import WITH_ANSWER, Rate, rate, vote, voted, whole_evaluation
from mathtune.learning.verifier.texts import with_verdict
from mathtune.records import PredictionRow, Problem
from mathtune.run_paths import VERIFIER_ENDING, RunPaths
from mathtune.storage import read_json, replace_file, write_json

log = logging.getLogger(__name__)

Score = Callable[[Sequence[PredictionRow]], list[float]]
"""Returns how likely each answer is right, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """How many problems are right by each way to choose one of n answers.

    Attributes:
        n: Problems.
        samples: Answers per problem.
        rates: Way → rate with its Wilson interval. ``sample`` is the mean over all answers,
            ``majority`` the vote, ``best`` the answer with the highest score, ``weighted`` the vote
            weighted by scores, ``any`` whether one is right; ``greedy`` a greedy answer, if given.
        against_majority: ``best`` and ``weighted`` → gained, lost, difference with its interval,
            McNemar's p and the same adjusted for the two tests (Holm).
    """

    n: int
    samples: int
    rates: dict[str, Rate]
    against_majority: dict[str, dict[str, Any]]


def best(group: Sequence[PredictionRow], scores: Sequence[float]) -> PredictionRow:
    """Return the answer with the highest score; those without an answer never win."""
    candidates = [i for i, row in enumerate(group) if row["outcome"] in WITH_ANSWER]
    return group[max(candidates, key=lambda i: scores[i], default=0)]


def weighted(group: Sequence[PredictionRow], scores: Sequence[float]) -> PredictionRow:
    """Return the first sample of the answer whose samples' scores have the largest sum."""
    votes: dict[Any, float] = defaultdict(float)
    answers = [vote(row) for row in group]
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None:
            votes[answer] += score
    if not votes:
        return group[0]
    return group[answers.index(max(votes, key=lambda answer: votes[answer]))]


def rerank(
    rows: Sequence[PredictionRow], scores: Sequence[float], confidence: float = 0.95
) -> Reranked:
    """Return the figures of one evaluation's rows and their scores.

    Raises:
        DataError: The rows are not of one complete evaluation with several samples per problem.
    """
    by_row = {(r["problem_id"], r["sample"]): s for r, s in zip(rows, scores, strict=True)}
    groups, samples = whole_evaluation(rows)
    if samples < 2:
        raise DataError(
            "there is one answer per problem, so nothing to choose from; sample several, for "
            "example with mathtune eval --samples 16 --temperature 0.7"
        )
    right: dict[str, list[bool]] = defaultdict(list)
    for name, group in groups.items():
        own = [by_row[name, row["sample"]] for row in group]
        right["majority"].append(bool(voted(group)["correct"]))
        right["best"].append(bool(best(group, own)["correct"]))
        right["weighted"].append(bool(weighted(group, own)["correct"]))
        right["any"].append(any(row["correct"] for row in group))
    n = len(groups)
    mean = sum(bool(row["correct"]) for row in rows) / samples
    rates = {"sample": rate(mean, n, confidence)}
    rates |= {way: rate(sum(found), n, confidence) for way, found in right.items()}
    against = {
        way: _against(right["majority"], right[way], confidence) for way in ("best", "weighted")
    }
    adjusted = holm([each["mcnemar_p"] for each in against.values()])
    for each, p in zip(against.values(), adjusted, strict=True):
        each["holm_p"] = p
    return Reranked(n, samples, rates, against)


def _against(before: list[bool], after: list[bool], confidence: float) -> dict[str, Any]:
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    interval = paired_score_interval(len(before), gained, lost, confidence)
    return {
        "difference": (gained - lost) / len(before),
        "low": interval.low,
        "high": interval.high,
        "gained": gained,
        "lost": lost,
        "mcnemar_p": mcnemar_exact(gained, lost),
    }


def rerank_file(
    path: Path, verifier: Path, *, greedy: Path | None = None, confidence: float = 0.95
) -> tuple[Reranked, Path]:
    """Score a file's answers with a verifier's run; return figures and the file of the scores.

    The figures are also written next to the file, where the report of its run finds them.

    Args:
        path: A predictions file with several answers per problem.
        verifier: The run folder.
        greedy: Predictions with one answer to each of the same problems, to compare with.
        confidence: Of the intervals.

    Raises:
        RunError: The run folder is not one of a trained verifier.
        DataError: The answers are of problems that the verifier was trained on, or ``greedy`` is
            of other problems.
    """
    import json

    recipe = _recipe_of(verifier)
    rows = list(read_rows(path))
    known = set(read_json(RunPaths(verifier).verifier_problems, ("problems",))["problems"])
    if seen := len({row["problem_id"] for row in rows} & known):
        raise DataError(
            f"{seen:,} problems of {path} are among those that the verifier in {verifier} was "
            "trained on, so its choice among their answers proves nothing; give samples of others"
        )
    one_each = None if greedy is None else _greedy_rate(greedy, rows, confidence)
    scores = score(rows, recipe)
    output = path.with_name(f"{path.name}.verifier.jsonl")
    lines = [
        json.dumps({"problem_id": r["problem_id"], "sample": r["sample"], "score": s}) + "\n"
        for r, s in zip(rows, scores, strict=True)
    ]
    replace_file(output, [line.encode() for line in lines])
    found = rerank(rows, scores, confidence)
    if one_each is not None:
        found.rates["greedy"] = one_each
    figures = {**asdict(found), "verifier": str(verifier), "confidence": confidence}
    write_json(path.with_name(path.name + VERIFIER_ENDING), figures)
    return found, output


def _greedy_rate(path: Path, rows: Sequence[PredictionRow], confidence: float) -> Rate:
    groups, samples = whole_evaluation(list(read_rows(path)))
    if samples > 1:
        raise DataError(f"{path} has {samples} answers per problem; give a file of greedy answers")
    if set(groups) != {row["problem_id"] for row in rows}:
        raise DataError(
            f"{path} has answers to other problems than the samples; measure the same problems "
            "greedily (mathtune eval without --samples)"
        )
    return rate(
        sum(bool(group[0]["correct"]) for group in groups.values()), len(groups), confidence
    )


def _recipe_of(verifier: Path) -> Recipe:
    """Return the recipe of a verifier's run, with its trained model as the model."""
    paths = RunPaths(verifier)
    if not (paths.verifier_problems.is_file() and paths.model.is_dir()):
        raise RunError(
            f"{verifier} is not the run folder of a trained verifier; train one with "
            "mathtune train RECIPE train.objective=verifier verifier.samples=FILE"
        )
    recipe = runs.stored_recipe(paths.recipe)
    update = {"name_or_path": str(paths.model), "revision": None}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=update)})


def score(rows: Sequence[PredictionRow], recipe: Recipe) -> list[float]:
    """Return how likely each answer is right, by the model of a recipe; 0 for an empty one."""
    from mathtune.training.batching.limits import limits
    from mathtune.training.loss.supervised import token_logprobs
    from mathtune.training.session import Session

    session = Session.load(recipe)
    renderer = session.renderer()
    asked = [index for index, row in enumerate(rows) if row["completion"].strip()]
    texts = []
    for index in asked:
        row = rows[index]
        problem = Problem(row["problem_id"], row["question"], "", row["gold"])
        texts.append(with_verdict(renderer, problem, row["completion"], True))
    scores = [0.0] * len(rows)
    with progress.bar("scoring answers", len(texts)) as bar:
        each = token_logprobs(session.model, texts, limits(recipe, session.model), bar.update)
        for index, logprobs in zip(asked, each, strict=True):
            scores[index] = math.exp(logprobs[-1])
    return scores
