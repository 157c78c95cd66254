"""``mathtune report``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo, json_option, print_json
from mathtune.run_paths import RunPaths


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
@json_option()
def command(run_dir: Path, as_json: bool) -> None:
    """Rewrite report.html and README.md of RUN_DIR from its files; no model is needed.

    Refuses if the run's data or model are on this machine and have changed since.
    """
    from mathtune import report, stages

    stages.verify(run_dir)
    report.write(run_dir)
    paths = RunPaths(run_dir)
    if as_json:
        written = {"report": str(paths.report), "model_card": str(paths.card)}
        print_json({"run_dir": str(run_dir), **written})
    else:
        echo(f"report: {paths.report}")
