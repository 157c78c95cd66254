"""``mathtune eval``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import print_outcome, progress_console, run_options


@click.command("eval")
@click.argument("model")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--data", multiple=True, help="Problem set: a known name, NAME:SPLIT, a hub id or a file."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many problems of each set.")
@click.option("--style", help="Prompt style: qa, instruct, orca or chat.")
@click.option("--calculator/--no-calculator", default=None, help="Headline with the calculator.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer in tokens.")
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
    calculator: bool | None,
    max_new_tokens: int | None,
    label: str,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL (a folder, a hub id, an adapter's folder, tiny-base) on a problem set.

    Without --data: the GSM8K test set. Knobs of a recipe can follow, for example eval.batch_size=8.
    """
    from mathtune import config, pipeline
    from mathtune.preflight import check

    given = {
        "prompt.style": style,
        "eval.calculator": calculator,
        "eval.max_new_tokens": max_new_tokens,
        "data.max_test_samples": limit,
        "data.test": "[" + ", ".join(data) + "]" if data else None,
    }
    options = [f"{key}={value}" for key, value in given.items() if value is not None]
    loaded = config.load("gsm8k-eval", [f"model={model}", *options, *overrides])
    check(loaded, run_dir, trains=False)
    outcome = pipeline.evaluate(loaded, label, run_dir, progress_console())
    print_outcome(outcome, as_json=as_json)
