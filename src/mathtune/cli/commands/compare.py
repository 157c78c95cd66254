"""``mathtune compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mathtune.cli.common import confidence_option, echo, json_option, print_json

if TYPE_CHECKING:
    from mathtune.evaluation.difference import Comparison

MOST = 4_000
"""At most this many characters of a question or answer are shown; then how many are left."""


@click.command("compare")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--allow-different",
    multiple=True,
    help="Compare although these differ: problems, prompts, decoding.",
)
@confidence_option
@click.option(
    "--examples",
    default=0,
    type=click.IntRange(min=0),
    help="Show this many problems gained and lost.",
)
@click.option("--label", "labels", multiple=True, help="Name of a file, once per file in order.")
@click.option(
    "--previous", is_flag=True, help="Compare each with the one before it as well, in one family."
)
@click.option(
    "--markdown", is_flag=True, help="Print only the table and verdicts, as Markdown for documents."
)
@json_option()
def command(
    paths: tuple[Path, ...],
    allow_different: tuple[str, ...],
    confidence: float,
    examples: int,
    labels: tuple[str, ...],
    previous: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Compare models on the same problems, from saved outputs alone.

    PATHS are files that `mathtune grade` takes: predictions files, samples of
    lm-evaluation-harness, or rows with a completion and a gold answer. The others are compared with
    the first, and p-values are adjusted for the number of comparisons (Holm 1979). Or one run
    folder, to compare its base and tuned model.
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown are two forms of output; give one")
    from mathtune import stages
    from mathtune.evaluation.compare import compare_files
    from mathtune.evaluation.comparison_table import table, type_table
    from mathtune.text.visible import shortened

    files = stages.files_to_compare(paths)
    comparisons = compare_files(
        files,
        labels=labels or None,
        allow_different=allow_different,
        confidence=confidence,
        previous=previous,
    )
    if as_json:
        print_json(_line(comparisons, paths[0]))
        return
    if markdown:
        echo(table(comparisons, as_list=True))
        return
    echo(table(comparisons))
    for comparison in comparisons:
        if comparison.by_type:
            echo(f"\nby type:\n{type_table(comparison)}")
    for comparison in comparisons:
        name = comparison.labels[1]
        for title, pairs in (("gained", comparison.gained), ("lost", comparison.lost)):
            for pair in pairs[:examples]:
                echo(f"\n{name} {title}: {shortened(pair.before['question'], MOST)}")
                echo(f"  gold: {shortened(pair.before['gold'], MOST)}")
                for label, row in zip(comparison.labels, (pair.before, pair.after), strict=True):
                    echo(f"  {label}: {shortened(row['completion'].strip(), MOST)}")


def _line(comparisons: Sequence[Comparison], path: Path) -> dict[str, Any]:
    """Return the figures as ``--json`` prints them; those of the first comparison come first."""
    first = comparisons[0].result()
    before, after = first["labels"]
    line = {
        **first,
        f"{before}.exact_match": first["before"]["value"],
        f"{after}.exact_match": first["after"]["value"],
    }
    if path.is_dir():
        line["run_dir"] = str(path)
    if len(comparisons) > 1:
        line["comparisons"] = [comparison.result() for comparison in comparisons]
    return line
