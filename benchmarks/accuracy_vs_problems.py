"""What a longer run buys: exact match of the tuned model against the number of training problems.

    python benchmarks/accuracy_vs_problems.py smollm2-svamp --problems 50 100 200 400
    python benchmarks/accuracy_vs_problems.py smollm2-135m-gsm8k model=smollm2-135m-instruct \
        --problems 100 500 2500

Each number is trained from the same base with the recipe's own settings, so that more problems are
more steps too, and measured on the recipe's first test set. A larger number holds all problems of a
smaller one. Prints one JSON line a number and draws a plot with 95 % intervals (--plot FILE.svg).
Repeating the command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib

import mathtune as mt

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--problems", type=int, nargs="+", default=[100, 500, 2500])
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy-vs-problems"))
    parser.add_argument("--plot", type=Path, default=Path("accuracy-vs-problems.svg"))
    options = parser.parse_intermixed_args()
    recipe = mt.load_recipe(options.recipe, options.overrides)
    points = [measure(recipe, 0, options)]
    points += [measure(recipe, number, options) for number in sorted(options.problems)]
    draw(points, recipe, options.plot)


def measure(recipe: mt.Recipe, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train on this many problems, or on none, and measure exact match."""
    name = f"{recipe.name}-{number}"
    start = time.perf_counter()
    given = [*options.overrides, f"data.test={json.dumps([recipe.data.test[0].model_dump()])}"]
    model: Any = recipe.model.name_or_path
    trained = 0
    if number:
        fewer = mt.load_recipe(options.recipe, [*given, f"data.max_train_samples={number}"])
        model = mt.train(fewer, run_dir=options.runs / name)
        trained = len(mt.load_problems(fewer).train)
    training = time.perf_counter() - start
    found = mt.evaluate(
        model,
        recipe=options.recipe,
        overrides=[*given[:-1], given[-1], "eval.perplexity=false"],
        run_dir=options.runs / f"{name}-evaluation",
    )
    line = {
        "benchmark": "accuracy_vs_problems",
        "recipe": recipe.name,
        "training_problems": trained,
        "test_problems": found.n,
        "calculator": recipe.eval.calculator,
        "exact_match": round(found.exact_match, 4),
        "interval": [round(end, 4) for end in found.interval],
        "training_seconds": round(training, 1) if number else 0,
    }
    print(json.dumps(line), flush=True)
    return line


def draw(points: list[dict[str, Any]], recipe: mt.Recipe, path: Path) -> None:
    """Draw exact match with its intervals against the number of training problems."""
    numbers = [point["training_problems"] for point in points]
    rates = [100 * point["exact_match"] for point in points]
    errors = [
        [rate - 100 * point["interval"][0] for rate, point in zip(rates, points, strict=True)],
        [100 * point["interval"][1] - rate for rate, point in zip(rates, points, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.errorbar(numbers, rates, yerr=errors, marker="o", capsize=3, color="#2563eb")
    axes.set_xscale("symlog", linthresh=min(number for number in numbers if number))
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training problems")
    calculator = "with" if recipe.eval.calculator else "without"
    axes.set_ylabel(f"exact match {calculator} calculator, %")
    axes.set_title(f"{recipe.name}, {points[0]['test_problems']} test problems, 95 % intervals")
    axes.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    main()
