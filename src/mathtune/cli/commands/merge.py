"""``mathtune merge``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo, json_option, overrides_argument, print_json


@click.command("merge")
@click.argument("given", metavar="ADAPTER_OR_RUN_DIR", type=click.Path(path_type=Path))
@overrides_argument
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder; default: RUN_DIR/merged, or ADAPTER-merged.",
)
@click.option(
    "--dtype",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Dtype of the merged weights; auto: the one the adapter was trained in.",
)
@click.option(
    "--data",
    multiple=True,
    help="Problems to check with; default: the run's test set, else generated problems.",
)
@click.option(
    "--limit", default=8, type=click.IntRange(min=1), help="How many problems to check with."
)
@click.option("--style", help="Prompt style of the check; default: the run's, else qa.")
@click.option("--load-in-4bit", is_flag=True, help="For a QLoRA adapter trained elsewhere.")
@json_option()
def command(
    given: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    dtype: str,
    data: tuple[str, ...],
    limit: int,
    style: str | None,
    load_in_4bit: bool,
    as_json: bool,
) -> None:
    """Merge an adapter into the exact base it was trained on, and check the result.

    A base that was held in 4 bits is dequantised first. The merged model is loaded from disk and
    must answer as the adapter does, or nothing is written.
    """
    from mathtune.exporting import merged
    from mathtune.exporting import source as sources

    source = sources.find_adapter(given)
    recipe = sources.recipe_for(
        source, overrides, limit=limit, data=data, style=style, load_in_4bit=load_in_4bit
    )
    with source.held():
        figures = merged.merge(source, recipe, output or source.output("merged"), dtype)
    if as_json:
        print_json(figures)
        return
    echo(merged.in_words(figures))
