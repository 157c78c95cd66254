"""``mathtune rerank``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mathtune.cli.common import confidence_option, echo, print_json

WAYS = {
    "sample": "one sample, on average",
    "majority": "majority vote (maj@{n})",
    "best": "best of {n} by the verifier",
    "weighted": "vote weighted by the verifier",
    "any": "any of {n} right (pass@{n})",
}


@click.command("rerank")
@click.argument("samples", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--verifier",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run folder of a training with train.objective=verifier.",
)
@confidence_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def command(samples: Path, verifier: Path, confidence: float, as_json: bool) -> None:
    """Choose among several answers per problem by a verifier, next to the majority's vote.

    SAMPLES is a predictions file with several samples per problem. Each answer's score is written
    next to it.
    """
    from mathtune.learning.verifier.rerank import rerank_file
    from mathtune.report import wording

    found, output = rerank_file(samples, verifier, confidence)
    if as_json:
        print_json({**asdict(found), "confidence": confidence, "scores": str(output)})
        return
    echo(f"{found.n:,} problems, {found.samples} answers each")
    for way, name in WAYS.items():
        rate = found.rates[way]
        line = f"  {name.format(n=found.samples):32} {wording.percent(rate['value']):>8} "
        line += f"({wording.rate_interval(rate)})"
        if test := found.against_majority.get(way):
            line += (
                f"  {wording.signed_points(test['difference'])} points against the vote, p = "
                f"{test['mcnemar_p']:.2g} ({test['holm_p']:.2g} adjusted for two tests)"
            )
        echo(line)
    echo(f"scores: {output}")
