"""A recipe's data as a training sees it: tokens, what was dropped, what is near a test problem."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import mathtune as mt
from mathtune import config, problems, stages
from mathtune.errors import ModelError
from mathtune.preflight.data_preview import ShownToken, shown_example
from mathtune.problems.contamination import overlap
from mathtune.prompts import Renderer
from mathtune.records import Problem

EXAMPLES = 3
MEASURED = 400
"""Training problems whose length in tokens is measured."""

PAIRS = 20
BINS = 12


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``splits``, then ``examples``, then ``done`` with the pairs near test problems."""
    recipe = mt.load_recipe(request["recipe"], request["overrides"])
    yield {"event": "loading"}
    splits = stages.load_problems(recipe)
    described = problems.describe(splits)
    yield {"event": "splits", "data": described}
    try:
        yield {"event": "examples", **_examples(recipe, splits.train.problems)}
    except ModelError as error:  # a model that is not here yet; the rest can be shown
        yield {"event": "examples", "faults": list(error.faults)}
    yield {"event": "done", **_near(recipe)}


def _examples(recipe: mt.Recipe, train: Sequence[Problem]) -> dict[str, Any]:
    """Return the first examples token by token, and the lengths of the first ``MEASURED``."""
    from mathtune.models.loading import load_tokenizer

    model = recipe.model
    tokenizer = load_tokenizer(
        model.name_or_path or "", model.revision, trust=model.trust_remote_code
    )
    renderer = Renderer(
        tokenizer,
        recipe.prompt.style,
        system=recipe.prompt.system,
        completion_only=recipe.train.completion_only_loss,
    )
    lengths = [len(renderer.example(problem).ids) for problem in train[:MEASURED]]
    shown = [
        shown_example(problem, renderer.rendered(problem), tokenizer, fits=True)
        for problem in train[:EXAMPLES]
    ]
    limit = recipe.train.max_length
    return {
        "style": recipe.prompt.style,
        "examples": [
            {
                "tokens": len(example.tokens),
                "targets": example.targets,
                "parts": [_part(token) for token in example.tokens],
            }
            for example in shown
        ],
        "lengths": _histogram(lengths),
        "measured": len(lengths),
        "longest": max(lengths, default=0),
        "limit": limit,
        "too_long": sum(length > limit for length in lengths),
    }


def _part(token: ShownToken) -> tuple[str, str]:
    """Return ``(kind, text)``; kinds are ``prompt`` and ``target``, each with ``special``."""
    kind = "target" if token.supervised else "prompt"
    return f"{kind} special" if token.special else kind, token.text


def _histogram(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return ``(from, to, count)`` over equal ranges of lengths."""
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // BINS))
    counts = [0] * (-(-(high - low + 1) // width))
    for length in lengths:
        counts[(length - low) // width] += 1
    return [(low + i * width, low + (i + 1) * width - 1, n) for i, n in enumerate(counts)]


def _near(recipe: mt.Recipe) -> dict[str, Any]:
    """Return training problems that share 13 masked words with a test problem from outside.

    They are looked for before the recipe would drop them.
    """
    kept = config.load(recipe, ["data.contamination=report"])
    splits = stages.load_problems(kept)
    outside = [p for test in splits.test for p in test.problems if not _is_generated(p)]
    train = {problem.id: problem for problem in splits.train.problems}
    tests = {problem.id: problem for problem in outside}
    found = overlap(train.values(), outside)
    pairs = [
        [train[hit.train_id].question, tests[hit.test_id].question, hit.shared]
        for hit in itertools.islice(found, PAIRS)
    ]
    count = len(pairs) + sum(1 for _ in found)
    return {"pairs": pairs, "found": count, "checked": len(outside)}


def _is_generated(problem: Problem) -> bool:
    return problem.source.startswith("generated")
