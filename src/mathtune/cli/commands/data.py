"""``mathtune data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mathtune.cli.common import echo, print_json


@click.group("data")
def command() -> None:
    """Look at the problems of a recipe, check a file before training on it, generate problems."""


@command.command("check")
@click.argument("source")
@click.option(
    "--against",
    multiple=True,
    help="Test set to compare with, for example gsm8k:test or a file; can be given again.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File (JSON lines) for every row that resembles a test question, next to that.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def check(source: str, against: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Check SOURCE: a file, NAME:SPLIT of a known set, a hub id, or settings in {…}.

    Counts final answers by how they were found, rows that cannot be used, duplicates, solutions
    with false equations, and, with --against, rows that are test questions: the same, with other
    numbers, or in other words. The source is streamed.

    Exit code: 0 if training would use every row and no row resembles a test question, 1 if not, 2
    if the source cannot be read.
    """
    from mathtune.api.data import data_check

    found = data_check(_source(source), against=list(map(_source, against)), output=output)
    if as_json:
        print_json(found.as_dict())
    else:
        for line in found.lines():
            echo(line)
        if output is not None:
            echo(f"pairs: {output}")
    raise click.exceptions.Exit(0 if found.is_clean else 1)


def _source(text: str) -> Any:
    """Read ``{path: FILE, prose: true}`` as settings of a source, anything else as its name."""
    if not text.startswith("{"):
        return text
    import yaml

    from mathtune.errors import ConfigError

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ConfigError(
            f"{text} is not written correctly ({why}); write for example "
            "'{path: FILE, prose: true}'"
        ) from error
