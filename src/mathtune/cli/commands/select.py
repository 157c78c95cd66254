"""``mathtune select``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mathtune.cli.common import echo, json_option, print_json
from mathtune.cli.knob_options import KnobOptions

KNOBS = KnobOptions(
    "select.max_per_problem", "select.min_pass_rate", "select.max_pass_rate", "select.gold",
    recipe="sample",
)  # fmt: skip


@click.command("select")
@click.argument("samples", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="The training source to write (.jsonl).",
)  # fmt: skip
@KNOBS
@click.option("--allow-test", is_flag=True, help="Take samples of test problems all the same.")
@json_option()
def command(
    samples: tuple[Path, ...], out: Path, allow_test: bool, as_json: bool, **knobs: Any
) -> None:
    """Turn graded SAMPLES (run folders of `mathtune sample`, or files) into a training source.

    Right samples are kept, one for each list of equations; wrong ones, copies and those with a
    false equation are dropped, and every drop is counted. Train on them with data.train=FILE.
    """
    from mathtune import config
    from mathtune.learning.selection_file import provenance_path, select_files

    rules = config.load("sample", KNOBS.overrides(knobs)).select
    found = select_files(samples, out, rules, allow_test=allow_test)
    if as_json:
        counts = {"samples": found.samples, "kept": found.kept, "gold": found.gold}
        print_json({**counts, "problems": found.problems, "problems_with_a_sample_kept":
                    found.learnable, "dropped": found.dropped, "out": str(out)})  # fmt: skip
        return
    for line in found.lines():
        echo(line)
    echo(f"training source: {out} ({len(found.rows):,} solutions); from: {provenance_path(out)}")
