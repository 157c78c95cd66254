"""A run from start to finish: problems → measure base → train → measure tuned → compare → report.

With ``rft.rounds`` the model's own right answers come first (``learning/rft.py``).

Nothing is decided here. Each call is one stage in :mod:`mathtune.stages`, which leads to one
package. A stage that an earlier start of the same command finished is skipped if its inputs are
unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mathtune import stages
from mathtune.binding import STAGES
from mathtune.config.schema import Recipe
from mathtune.evaluation.measure import Evaluable
from mathtune.learning import rft


def run(recipe: Recipe, folder: Path | None, *, fresh: bool = False) -> dict[str, Any]:
    """Do everything a recipe asks for; return the headline figures."""
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_problems(recipe)
        splits = rft.learn(recipe, run, splits, sample=_sample, train=_train, fresh=fresh)
        binding = stages.bind(recipe, run, splits, STAGES, fresh=fresh)
        stages.measure_base(binding)
        stages.train(binding)
        stages.measure_model("tuned", binding)
        stages.compare(binding)
        stages.write_report(binding)
        return binding.results.headline()


def train(recipe: Recipe, folder: Path | None, *, fresh: bool = False) -> dict[str, Any]:
    """Train only; return the run folder and the training figures."""
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_problems(recipe)
        splits = rft.learn(recipe, run, splits, sample=_sample, train=_train, fresh=fresh)
        binding = stages.bind(recipe, run, splits, ("train",), fresh=fresh)
        stages.train(binding)
        stages.write_report(binding)
        return stages.training_figures(binding)


def evaluate(
    recipe: Recipe,
    label: str,
    folder: Path | None,
    model: Evaluable | None = None,
    *,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measure a model on the recipe's test sets only; return the headline figures.

    Args:
        recipe: The recipe whose model is measured.
        label: ``base`` or ``tuned``.
        folder: The run folder; default: by the recipe.
        model: A loaded model to measure; the recipe's must be its name.
        fresh: Whether to redo results made from other inputs.
    """
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_test_problems(recipe)
        binding = stages.bind(recipe, run, splits, (label,), fresh=fresh)
        stages.measure_model(label, binding, model)
        stages.write_report(binding)
        return binding.results.headline()


def _sample(recipe: Recipe, folder: Path, fresh: bool) -> None:
    evaluate(recipe, "base", folder, fresh=fresh)


def _train(recipe: Recipe, folder: Path, fresh: bool) -> None:
    train(recipe, folder, fresh=fresh)
