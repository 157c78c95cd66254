"""What a longer run buys: exact match of the tuned model against the number of training problems.

    python benchmarks/accuracy_vs_problems.py smollm2-svamp --problems 50 100 200 400
    python benchmarks/accuracy_vs_problems.py smollm2-135m-gsm8k model=smollm2-135m-instruct \
        --problems 100 500 2500

Each number is trained from the same base with the recipe's own settings, so that more problems are
more steps too, and measured on the recipe's test sets. A larger number holds all problems of a
smaller one. Prints one JSON line a number and draws a plot with 95 % intervals (--plot FILE.svg).
Repeating the command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

import mathtune as mt

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = ("#2563eb", "#d97706", "#059669")
GIVEN_APART = ("model=", "model.name_or_path=", "data.test=", "eval.perplexity=")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--problems", type=int, nargs="+", default=[100, 500, 2500])
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy-vs-problems"))
    parser.add_argument("--plot", type=Path, default=Path("accuracy-vs-problems.svg"))
    options = parser.parse_intermixed_args()
    recipe = mt.load_recipe(options.recipe, options.overrides)
    points = [
        point
        for number in (0, *sorted(options.problems))
        for point in measure(recipe, number, options)
    ]
    draw(points, recipe, options.plot)


def measure(
    recipe: mt.Recipe, number: int, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Train on this many problems, or on none, and yield exact match on each test set."""
    name = f"{recipe.name}-{number}"
    start = time.perf_counter()
    model: Any = recipe.model.name_or_path
    trained = 0
    if number:
        fewer = mt.load_recipe(
            options.recipe, [*options.overrides, f"data.max_train_samples={number}"]
        )
        model = mt.train(fewer, run_dir=options.runs / name)
        trained = len(mt.load_problems(fewer).train)
    training = time.perf_counter() - start
    for test in recipe.data.test:
        found = mt.evaluate(
            model,
            recipe=options.recipe,
            overrides=[
                *(each for each in options.overrides if not each.startswith(GIVEN_APART)),
                f"data.test={json.dumps([test.model_dump()])}",
                "eval.perplexity=false",
            ],
            run_dir=options.runs / f"{name}-{test.label}",
        )
        line = {
            "benchmark": "accuracy_vs_problems",
            "recipe": recipe.name,
            "training_problems": trained,
            "test_set": test.label,
            "test_problems": found.n,
            "calculator": recipe.eval.calculator,
            "exact_match": round(found.exact_match, 4),
            "interval": [round(end, 4) for end in found.interval],
            "training_seconds": round(training, 1) if number else 0,
        }
        print(json.dumps(line), flush=True)
        yield line


def draw(points: list[dict[str, Any]], recipe: mt.Recipe, path: Path) -> None:
    """Draw exact match with its intervals against the number of training problems."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    numbers = sorted({point["training_problems"] for point in points})
    for test, colour in zip(recipe.data.test, COLOURS, strict=False):
        own = [point for point in points if point["test_set"] == test.label]
        rates = [100 * point["exact_match"] for point in own]
        ends = [[100 * end for end in point["interval"]] for point in own]
        axes.errorbar(
            [point["training_problems"] for point in own],
            rates,
            yerr=[
                [rate - low for rate, (low, _) in zip(rates, ends, strict=True)],
                [high - rate for rate, (_, high) in zip(rates, ends, strict=True)],
            ],
            marker="o",
            capsize=3,
            color=colour,
            label=f"{test.label}, {own[0]['test_problems']} problems",
        )
    axes.set_xscale("symlog", linthresh=min(number for number in numbers if number))
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training problems")
    calculator = "with" if recipe.eval.calculator else "without"
    axes.set_ylabel(f"exact match {calculator} calculator, %")
    axes.set_title(f"{recipe.name}, 95 % intervals")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    main()
