"""``mathtune report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
def command(run_dir: Path) -> None:
    """Write report.html and README.md of RUN_DIR again from its files; no model is needed."""
    from mathtune import report
    from mathtune.errors import RunError

    if not (run_dir / "manifest.json").is_file():
        raise RunError(
            f"{run_dir} is no run folder (it has no manifest.json); give one, as in runs/demo-…"
        )
    report.write(run_dir)
    click.echo(f"report: {run_dir}/report.html")
