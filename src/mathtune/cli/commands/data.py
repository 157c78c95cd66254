"""``mathtune data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mathtune.cli.common import echo, print_json, recipe_arguments


@click.group("data")
def command() -> None:
    """Look at the problems of a recipe, check a file before training on it, generate problems."""


@command.command("preview")
@recipe_arguments
@click.option(
    "--show", type=click.IntRange(min=0), default=3, show_default=True, help="Whole examples."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def preview(recipe: str, overrides: tuple[str, ...], show: int, as_json: bool) -> None:
    """Show what RECIPE would train on: whole examples token by token, lengths, what is left out.

    Only the tokenizer is loaded. Supervised tokens are green and underlined; in a file or a pipe
    they stand between ⟦ and ⟧. Special tokens, such as BOS and EOS, are shown by their names.
    """
    from mathtune.api.data import data_preview

    found = data_preview(recipe, overrides, show=show)
    if as_json:
        print_json(found.as_dict())
        return
    from mathtune.cli.data_preview import show_preview

    show_preview(found)


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
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def check(
    source: str, against: tuple[str, ...], output: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Check SOURCE: a file, NAME:SPLIT of a known set, a hub id, or settings in {…}.

    Counts final answers by how they were found, rows that cannot be used, duplicates, solutions
    with false equations, and, with --against, rows that are test questions: the same, with other
    numbers, or in other words. The source is streamed.

    Exit code: 0 if training would use every row and no row resembles a test question, 1 if not, 2
    if the source cannot be read.
    """
    from mathtune.api.data import data_check

    tests = list(map(_source, against))
    found = data_check(_source(source), against=tests, output=output, overwrite=overwrite)
    if as_json:
        print_json(found.as_dict())
    else:
        for line in found.lines():
            echo(line)
        if output is not None:
            echo(f"pairs: {output}")
    raise click.exceptions.Exit(0 if found.is_clean else 1)


@command.command("generate")
@click.option("-n", "count", type=click.IntRange(min=1), required=True, help="How many problems.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--types",
    default="",
    metavar="TYPE,…",
    help="Types of problems, or the groups base and new; default: all.",
)
@click.option(
    "--templates",
    type=click.Choice(["train", "held_out", "all"]),
    default="train",
    show_default=True,
    help="Templates kept for training, held out, or all.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "test", "all"]),
    default="train",
    show_default=True,
    help="Split by numbers: calculations of test problems never occur in training problems.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="FILE.jsonl."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def generate(
    count: int,
    seed: int,
    types: str,
    templates: Any,
    part: Any,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write word problems of mathtune's own generator, with their solutions, to a file.

    The same options give the same bytes. How the file was made stands in FILE.provenance.json.
    """
    from mathtune.problems.generate.to_file import generate_file

    chosen = [name.strip() for name in types.split(",") if name.strip()]
    made = generate_file(
        out, count, seed=seed, types=chosen, templates=templates, part=part, overwrite=overwrite
    )
    if as_json:
        figures = {"file": str(made.path), "provenance": str(made.note)}
        print_json({**figures, "problems": made.problems, "types": made.types})
        return
    for name, number in sorted(made.types.items()):
        echo(f"{number:>8,} {name}")
    echo(f"{made.problems:,} problems: {made.path}; how they were made: {made.note}")


def _source(text: str) -> Any:
    """Read ``{path: FILE, prose: true}`` as settings of a source, anything else as its name."""
    if not text.startswith("{"):
        return text
    import yaml

    from mathtune.config.yaml_loader import read_yaml
    from mathtune.errors import ConfigError

    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ConfigError(
            f"{text} is not written correctly ({why}); write for example "
            "'{path: FILE, prose: true}'"
        ) from error
