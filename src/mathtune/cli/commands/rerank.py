"""``mathtune rerank``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mathtune.cli.common import confidence_option, echo, print_json
from mathtune.run_paths import RunPaths


@click.command("rerank")
@click.argument("samples", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--verifier",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run folder of a training with train.objective=verifier.",
)
@click.option(
    "--greedy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Predictions file with one greedy answer to each of the same problems, for comparison.",
)
@confidence_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def command(
    samples: Path, verifier: Path, greedy: Path | None, confidence: float, as_json: bool
) -> None:
    """Choose among several answers per problem by a verifier, next to the majority's vote.

    SAMPLES is a predictions file with several samples per problem. Each answer's score is written
    next to it, and the figures into the report of its run.
    """
    from mathtune import report
    from mathtune.learning.verifier.rerank import rerank_file
    from mathtune.report.choices import choices

    found, output = rerank_file(samples, verifier, greedy=greedy, confidence=confidence)
    run = RunPaths(samples.absolute().parent.parent)
    in_run = run.manifest_file.is_file() and samples.absolute().parent == run.all_predictions
    if in_run:
        report.write(run.folder)
    if as_json:
        print_json({**asdict(found), "confidence": confidence, "scores": str(output)})
        return
    echo(f"{found.n:,} problems, {found.samples} answers each")
    for way in choices(samples.name, asdict(found)).ways:
        line = f"  {way.name:32} {way.rate:>8} ({way.interval})"
        if way.difference is not None:
            points, interval, p, adjusted = way.difference
            p = p if p.startswith("<") else f"= {p}"
            line += f"  {points} points ({interval}) against the vote, p {p}"
            line += f" ({adjusted} adjusted for two tests)"
        echo(line)
    echo(f"scores: {output}")
    if in_run:
        echo(f"report: {run.report}")
