"""``mathtune validate``."""

from __future__ import annotations

import click

from mathtune.cli.common import recipe_arguments


@click.command("validate")
@recipe_arguments
def command(recipe: str, overrides: tuple[str, ...]) -> None:
    """Check RECIPE, its data and its model, and show the resolved recipe."""
    from mathtune import config
    from mathtune.preflight import check

    loaded = config.load(recipe, overrides)
    check(loaded, None)
    click.echo(config.dump(loaded).rstrip())
    click.echo("valid", err=True)
