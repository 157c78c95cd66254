"""``mathtune recipes``."""

from __future__ import annotations

import click

from mathtune.cli import completing
from mathtune.cli.common import echo, json_option, print_json
from mathtune.cli.tables import plain_table, print_table


@click.command("recipes")
@click.argument("name", required=False, shell_complete=completing.recipes)
@click.option("--knobs", is_flag=True, help="Explain every knob of a recipe.")
@json_option()
def command(name: str | None, knobs: bool, as_json: bool) -> None:
    """List the recipes, or show the one called NAME."""
    from mathtune import config
    from mathtune.config.loading import recipe_text

    if knobs:
        found = list(config.knobs())
        if as_json:
            print_json({"knobs": [
                {"key": key, "default": default, "text": text} for key, default, text in found
            ]})  # fmt: skip
            return
        for key, default, text in found:
            echo(f"{key} (default {default})\n    {text}")
    elif name:
        if as_json:
            recipe = config.load(name)
            print_json({"name": recipe.name, "recipe": recipe.model_dump(mode="json")})
        else:
            echo(recipe_text(name).rstrip())
    else:
        described = {each: config.load(each).description for each in config.recipe_names()}
        if as_json:
            print_json({"recipes": [
                {"name": each, "description": text} for each, text in described.items()
            ]})  # fmt: skip
            return
        table = plain_table("recipe", "what it does")
        for each in described.items():
            table.add_row(*each)
        print_table(table)
