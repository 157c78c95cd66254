"""``mathtune validate``."""

from __future__ import annotations

import click

from mathtune.cli.common import echo, recipe_arguments


@click.command("validate")
@recipe_arguments
def command(recipe: str, overrides: tuple[str, ...]) -> None:
    """Check RECIPE with its local data and model, and show the resolved recipe.

    Nothing is run and the hub is not contacted.
    """
    from mathtune import config
    from mathtune.preflight import validate

    loaded, checked = validate(recipe, overrides)
    echo(config.dump(loaded).rstrip())
    echo(f"valid; {checked}", err=True)
