"""``mathtune report``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
def command(run_dir: Path) -> None:
    """Rewrite report.html and README.md of RUN_DIR from its files; no model is needed.

    Refuses if the run's data or model are on this machine and have changed since.
    """
    from mathtune import report, stages

    stages.verify(run_dir)
    report.write(run_dir)
    echo(f"report: {run_dir}/report.html")
