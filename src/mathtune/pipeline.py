"""The story: problems → base measured → training → tuned measured → comparison → report.

Nothing is decided here. Each call leads to one stage in :mod:`mathtune.stages`, which is skipped
where an earlier start of the same command has finished it, and from there to one room.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mathtune import stages
from mathtune.config.schema import Recipe
from mathtune.evaluation.measure import Measurable
from mathtune.evaluation.results import Results


def run(recipe: Recipe, folder: Path | None) -> dict[str, Any]:
    """Do everything a recipe asks for; return the headline figures."""
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_problems(recipe, run)
        results = Results.open(run, recipe.eval, splits.test)
        stages.measure_base(recipe, splits, run, results)
        stages.train(recipe, splits, run)
        stages.measure_model(recipe, "tuned", splits, run, results)
        stages.compare(recipe, splits, run, results)
        stages.write_report(recipe, run)
        return results.headline()


def train(recipe: Recipe, folder: Path | None) -> dict[str, Any]:
    """Train only; return the run folder and the training figures."""
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_problems(recipe, run)
        stages.train(recipe, splits, run)
        stages.write_report(recipe, run)
        return stages.training_figures(run)


def evaluate(
    recipe: Recipe, label: str, folder: Path | None, model: Measurable | None = None
) -> dict[str, Any]:
    """Measure a model on the recipe's test sets only; return the headline figures.

    Args:
        recipe: Its model is measured.
        label: ``base`` or ``tuned``.
        folder: The run folder; default: by the recipe.
        model: Measured in place of the recipe's, which must be its name.
    """
    with stages.open_run(recipe, folder) as run:
        splits = stages.load_test_problems(recipe, run)
        results = Results.open(run, recipe.eval, splits.test)
        stages.measure_model(recipe, label, splits, run, results, model)
        stages.write_report(recipe, run)
        return results.headline()
