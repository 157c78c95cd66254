"""``mathtune report``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
def command(run_dir: Path) -> None:
    """Write report.html and README.md of RUN_DIR again from its files; no model is needed.

    Where the data or the model of the run are here and have changed since, it refuses.
    """
    from mathtune import report, stages

    stages.verify(run_dir)
    report.write(run_dir)
    echo(f"report: {run_dir}/report.html")
