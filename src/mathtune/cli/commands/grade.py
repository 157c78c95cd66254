"""``mathtune grade``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mathtune.cli.common import confidence_option, echo, json_option, print_json
from mathtune.cli.tables import plain_table, print_table
from mathtune.text.counts import counted

if TYPE_CHECKING:
    from rich.table import Table


@click.command("grade")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--completion", help="Field with the model's text, or a list of texts.")
@click.option("--answer", help="Field with the gold solution, or just the final answer.")
@click.option("--gold", help="Field with the final answer.")
@click.option("--question", help="Field with the question.")
@click.option("--stop-reason", help="Field that is 'length' where the token limit was hit.")
@click.option("--id", "id_", help="Field with the problem's name.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the graded rows; default: FILE ending in .graded.jsonl.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--strict", is_flag=True, help="Fail at the end if any line is broken.")
@confidence_option
@json_option()
def command(
    file: Path,
    completion: str | None,
    answer: str | None,
    gold: str | None,
    question: str | None,
    stop_reason: str | None,
    id_: str | None,
    output: Path | None,
    overwrite: bool,
    strict: bool,
    confidence: float,
    as_json: bool,
) -> None:
    """Grade the saved outputs in FILE (JSON lines) with every grader; no model is needed.

    FILE is a predictions file, what `lm_eval --log_samples` writes, or rows with a completion and a
    gold answer. Fields are found by their usual names, or by the names given; `outer.inner` reaches
    inside. Broken lines are reported and left out.
    """
    from mathtune.errors import ConfigError, DataError
    from mathtune.evaluation.predictions.rows import write_rows
    from mathtune.evaluation.regrade.regrading import (
        broken_lines,
        grade_saved,
        prose_notes,
        summarise_saved,
    )
    from mathtune.evaluation.regrade.saved_fields import Fields
    from mathtune.evaluation.regrade.saved_outputs import read_saved_outputs

    stem = file.stem if file.suffix in (".jsonl", ".json") else file.name
    target = output or file.with_name(f"{stem}.graded.jsonl")
    if target.exists() and target.resolve() == file.resolve():
        raise ConfigError(f"the output would replace {file} itself; give --output another name")
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} already exists; give --overwrite, or another --output")
    given = Fields(completion, answer, gold, question, stop_reason, id_)
    graded = grade_saved(read_saved_outputs(file, given))
    figures = summarise_saved(graded, confidence) | {"output": str(target)}
    write_rows(target, graded.rows)
    for line in (*broken_lines(graded.saved), *prose_notes(graded.saved)):
        echo(line, err=True)
    for line in _summary(figures):
        echo(line)
    print_table(_rates(figures))
    for line in _details(figures):
        echo(line)
    if as_json:
        print_json(figures)
    if strict and graded.saved.broken:
        raise DataError(
            f"{counted(len(graded.saved.broken), 'broken line')} of {file} left out (--strict); "
            "repair the file, or grade without --strict"
        )


def _summary(figures: Mapping[str, Any]) -> Iterator[str]:
    fields = ", ".join(f"{name} from {where!r}" for name, where in figures["fields"].items())
    yield f"{figures['file']}: {figures['layout']}; {fields}"
    left_out = f", {counted(len(figures['broken']), 'line')} left out" if figures["broken"] else ""
    completions = counted(figures["completions"], "completion")
    yield f"{counted(figures['n'], 'problem')}, {completions}{left_out}"


def _rates(figures: Mapping[str, Any]) -> Table:
    from mathtune.report import wording

    interval = f"{100 * figures['confidence']:g} % interval"
    table = plain_table("grader", "exact match", interval, "rule", right=("exact match", interval))
    rates = {"mathtune": figures["exact_match"], **figures["published"]}
    for name, rate in rates.items():
        _, rule = wording.GRADERS.get(name, ("", ""))
        share = wording.percent(rate["value"])
        table.add_row(name, share, wording.rate_interval(rate), rule)
    return table


def _details(figures: Mapping[str, Any]) -> Iterator[str]:
    from mathtune.evaluation.regrade.regrading import ranges

    for title in ("outcomes", "errors", "methods"):
        counts = figures[title].items()
        found = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts if count)
        if found:
            yield f"{title}: {found}"
    for name, found in figures["harness"].items():
        yield _harness(name, found, figures["confidence"])
    if figures["changed_lines"]:
        changed = figures["changed_lines"]
        differ = "1 verdict differs" if len(changed) == 1 else f"{len(changed):,} verdicts differ"
        yield f"{differ} from the file: on lines {ranges(changed)}"
    yield f"graded rows: {figures['output']}"


def _rate(rate: Mapping[str, Any], confidence: float) -> str:
    interval = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"
    return f"{100 * rate['value']:5.1f} %  ({100 * confidence:g} % interval {interval})"


def _harness(name: str, found: Mapping[str, Any], confidence: float) -> str:
    from mathtune.evaluation.regrade.regrading import ranges

    own = f"harness, {name}: {_rate(found['exact_match'], confidence).strip()}"
    if found["grader"] is None:
        return f"{own}; no grader here is a copy of this filter"
    agree = f"{own}; {found['grader']} agrees on {found['agree']:,} of {found['n']:,}"
    lines = found["differing_lines"]
    return f"{agree}, not on lines {ranges(lines)}" if lines else agree
