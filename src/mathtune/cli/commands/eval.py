"""``mathtune eval``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mathtune import ranks
from mathtune.cli.common import print_json, print_outcome, progress_console, run_options

if TYPE_CHECKING:
    from mathtune.config.schema import Recipe


@click.command("eval")
@click.argument("model")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--data", multiple=True, help="Problem set: a known name, NAME:SPLIT, a hub id or a file."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many problems of each set.")
@click.option("--style", help="Prompt style: qa, cot, instruct, orca or chat.")
@click.option("--shots", type=click.IntRange(min=0), help="Solved problems before each question.")
@click.option(
    "--shot-source",
    help="train (by seed), the set gsm8k-cot or word-problems, or a file. Default: train.",
)
@click.option("--calculator/--no-calculator", default=None, help="Headline with the calculator.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer in tokens.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy, the default.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Nucleus sampling.")
@click.option(
    "--samples", type=click.IntRange(min=1), help="Answers a problem, for maj@k and pass@k."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Answers decoded at once.")
@click.option(
    "--engine",
    type=click.Choice(["hf", "vllm", "openai"]),
    help="What decodes: Transformers here, vLLM here, or an OpenAI-compatible server.",
)
@click.option("--base-url", help="The server's address, such as http://localhost:8000/v1.")
@click.option(
    "--endpoint",
    type=click.Choice(["completions", "chat"]),
    help="The server's endpoint; chat goes with --style chat.",
)
@click.option("--concurrency", type=click.IntRange(min=1), help="Requests at a time; default 16.")
@click.option("--requests-per-minute", type=float, help="Most requests started in a minute.")
@click.option("--timeout-seconds", type=float, help="Longest wait for an answer; default 600.")
@click.option("--api-key-env", help="Variable with the API key; default OPENAI_API_KEY.")
@click.option("--tensor-parallel-size", type=click.IntRange(min=1), help="GPUs for vLLM.")
@click.option("--preview", is_flag=True, help="Show the first prompts to the letter, and end.")
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
    limit: int | None,
    style: str | None,
    shots: int | None,
    shot_source: str | None,
    calculator: bool | None,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    samples: int | None,
    batch_size: int | None,
    engine: str | None,
    base_url: str | None,
    endpoint: str | None,
    concurrency: int | None,
    requests_per_minute: float | None,
    timeout_seconds: float | None,
    api_key_env: str | None,
    tensor_parallel_size: int | None,
    preview: bool,
    label: str,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL (a folder, a hub id, an adapter's folder, tiny-base) on a problem set.

    With --engine openai MODEL is its name on the server.

    Without --data: the GSM8K test set. Knobs of a recipe can follow, for example
    eval.perplexity=false.
    """
    from mathtune import pipeline
    from mathtune.config import as_override
    from mathtune.preflight import Purpose, load

    if endpoint == "chat" and not any(each.startswith("prompt.style=") for each in overrides):
        style = style or "chat"
    given = {
        "model": model,
        "prompt.style": style,
        "prompt.shots": shots,
        "prompt.shot_source": shot_source,
        "eval.calculator": calculator,
        "eval.max_new_tokens": max_new_tokens,
        "eval.temperature": temperature,
        "eval.top_p": top_p,
        "eval.samples": samples,
        "eval.batch_size": batch_size,
        "eval.engine": engine,
        "eval.base_url": base_url,
        "eval.endpoint": endpoint,
        "eval.concurrency": concurrency,
        "eval.requests_per_minute": requests_per_minute,
        "eval.timeout_seconds": timeout_seconds,
        "eval.api_key_env": api_key_env,
        "eval.tensor_parallel_size": tensor_parallel_size,
        "data.max_test_samples": limit,
        "data.test": list(data) or None,
    }
    options = [as_override(key, value) for key, value in given.items() if value is not None]
    loaded = load("gsm8k-eval", [*options, *overrides], run_dir, Purpose.MEASURE)
    if preview:
        print_preview(loaded, as_json=as_json)
        return
    outcome = pipeline.evaluate(loaded, label, run_dir, progress_console())
    if not as_json and ranks.is_first():
        print_tables(Path(outcome["run_dir"]))
    print_outcome(outcome, as_json=as_json)


def print_preview(recipe: Recipe, *, as_json: bool) -> None:
    """Print what the recipe's model would be asked."""
    from mathtune import pipeline

    previews = pipeline.preview(recipe)
    if as_json:
        print_json({"preview": [asdict(preview) for preview in previews]})
        return
    for preview in previews:
        for line in preview.lines():
            click.echo(line)


def print_tables(run_dir: Path) -> None:
    """Print the figures of a run folder's results."""
    from rich.console import Console

    from mathtune.cli.evaluation_table import evaluation_tables

    results = json.loads((run_dir / "results.json").read_text("utf-8"))
    console = Console(highlight=False, markup=False)
    for table in evaluation_tables(results["evaluations"]):
        console.print(table)
