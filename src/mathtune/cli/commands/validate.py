"""``mathtune validate``."""

from __future__ import annotations

import click

from mathtune.cli.common import echo, json_option, print_json, recipe_arguments


@click.command("validate")
@recipe_arguments
@json_option()
def command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check RECIPE with its local data and model, and show the resolved recipe.

    Nothing is run and the hub is not contacted.
    """
    from mathtune import config
    from mathtune.preflight import validate

    loaded, checked = validate(recipe, overrides)
    if as_json:
        print_json({"valid": True, "said": checked, "recipe": loaded.model_dump(mode="json")})
        return
    echo(config.dump(loaded).rstrip())
    echo(f"valid; {checked}", err=True)
