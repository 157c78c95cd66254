"""``mathtune eval``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mathtune import ranks
from mathtune.cli.common import (
    echo,
    model_argument,
    overrides_argument,
    print_json,
    print_outcome,
    run_options,
)
from mathtune.cli.knob_options import KnobOptions
from mathtune.run_paths import RunPaths

if TYPE_CHECKING:
    from mathtune.config.schema import Recipe


KNOBS = KnobOptions(
    "prompt.shots", "prompt.shot_source", "eval.calculator", "eval.max_new_tokens",
    "eval.temperature", "eval.top_p", "eval.samples", "eval.batch_size", "eval.engine",
    "eval.base_url", "eval.endpoint", "eval.concurrency", "eval.requests_per_minute",
    "eval.timeout_seconds", "eval.api_key_env", "eval.tensor_parallel_size",
    "eval.workers", "eval.worker_engine", "eval.num_cpus", "eval.num_gpus",
    recipe="gsm8k-eval", limit="data.max_test_samples", style="prompt.style",
)  # fmt: skip


@click.command("eval")
@model_argument
@overrides_argument
@click.option(
    "--data", multiple=True, help="Problem set: a known name, NAME:SPLIT, a hub id or a file."
)
@KNOBS
@click.option(
    "--recipe",
    default="gsm8k-eval",
    show_default=True,
    help="Recipe whose data, prompt and evaluation knobs apply; its model and training do not.",
)
@click.option("--preview", is_flag=True, help="Show the first prompts verbatim, then exit.")
@click.option(
    "--label",
    default="base",
    type=click.Choice(["base", "tuned"]),
    help="Name of its predictions file.",
)
@run_options
def command(
    model: str,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    recipe: str,
    preview: bool,
    label: str,
    run_dir: Path | None,
    fresh: bool,
    as_json: bool,
    **knobs: Any,
) -> None:
    """Measure MODEL (a folder, a hub id, an adapter's folder, tiny-base) on a problem set.

    With --engine openai MODEL is its name on the server.

    Without --data: the test sets of --recipe, by default GSM8K's. Recipe knobs can follow, for
    example eval.perplexity=false.
    """
    from mathtune import pipeline
    from mathtune.config import as_override
    from mathtune.preflight import Purpose, load

    if knobs["endpoint"] == "chat" and not any(o.startswith("prompt.style=") for o in overrides):
        knobs["style"] = knobs["style"] or "chat"
    options = [as_override("model", model), *KNOBS.overrides(knobs)]
    if data:
        options.append(as_override("data.test", list(data)))
    loaded = load(recipe, [*options, *overrides], run_dir, Purpose.MEASURE)
    if preview:
        print_preview(loaded, as_json=as_json)
        return
    outcome = pipeline.evaluate(loaded, label, run_dir, fresh=fresh)
    if not as_json and ranks.is_first():
        print_tables(Path(outcome["run_dir"]))
    print_outcome(outcome, as_json=as_json)


def print_preview(recipe: Recipe, *, as_json: bool) -> None:
    """Print the prompts the recipe's model would get."""
    from mathtune import stages

    previews = stages.preview(recipe)
    if as_json:
        print_json({"preview": [asdict(preview) for preview in previews]})
        return
    for preview in previews:
        for line in preview.lines():
            echo(line)


def print_tables(run_dir: Path) -> None:
    """Print the figures of a run folder's results."""
    from mathtune.cli.evaluation_table import evaluation_tables
    from mathtune.progress.console import SafeConsole

    results = json.loads(RunPaths(run_dir).results.read_text("utf-8"))
    console = SafeConsole()
    for table in evaluation_tables(results["evaluations"]):
        console.print(table)
