"""``mathtune recipes``."""

from __future__ import annotations

import click

from mathtune.cli.common import echo


@click.command("recipes")
@click.argument("name", required=False)
@click.option("--knobs", is_flag=True, help="Explain every knob of a recipe.")
def command(name: str | None, knobs: bool) -> None:
    """List the recipes, or show the one called NAME."""
    from mathtune import config
    from mathtune.config.loading import recipe_text

    if knobs:
        for key, default, text in config.knobs():
            echo(f"{key} (default {default})\n    {text}")
    elif name:
        echo(recipe_text(name).rstrip())
    else:
        for each in config.recipe_names():
            echo(f"{each:24} {config.load(each).description}")
