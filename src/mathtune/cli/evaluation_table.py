"""The figures of evaluations as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mathtune.report import wording
from mathtune.text.counts import counted
from mathtune.text.visible import visible_line

if TYPE_CHECKING:
    from rich.table import Table

MOST = 60
"""At most this many characters of a name are shown in a table."""

OUTCOMES: Mapping[str, str] = {
    "correct": "right",
    "wrong": "wrong",
    "no_answer": "no answer",
    "truncated": "no answer, cut off",
    "ungradable": "ungradable",
}

RATES: Mapping[str, str] = {
    "no_answer": "without an answer",
    "truncated": "ended by token limit",
    "repetition": "stopped in a loop",
    "no_eos": "ended without EOS",
    "last_resort": "only as last number",
}
"""``evaluations[].rates`` by name → how the table describes such an answer."""

ERRORS: Mapping[str, str] = {
    "arithmetic_slip": "arithmetic slip",
    "reasoning": "reasoning error",
    "format": "format error",
}

Evaluation = Mapping[str, Any]
"""An ``evaluations[]`` object of ``results.json``."""

Rows = Iterator[tuple[str, list[str]]]
"""A row's name and its cell for each evaluation."""


def evaluation_tables(evaluations: Sequence[Evaluation]) -> Iterator[Table]:
    """Yield one table per problem set, one column per model and calculator setting."""
    for name in dict.fromkeys(evaluation["set"] for evaluation in evaluations):
        yield _set_table(name, [e for e in evaluations if e["set"] == name])


def _set_table(name: str, evaluations: Sequence[Evaluation]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first = evaluations[0]
    samples = f", {first['samples']} answers each" if first["samples"] > 1 else ""
    table = Table(
        title=f"{visible_line(name, MOST)}: {counted(first['n'], 'problem')}{samples}",
        caption=f"in brackets the {100 * first['confidence']:g} % interval (Wilson), or the share",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for found in evaluations:
        table.add_column(
            f"{found['model']}, {wording.calculator(found['calculator'])}", justify="right"
        )
    for section in (_graders, _outcomes, _form, _effort, _steps, _types):
        for label, cells in section(evaluations):
            table.add_row(label, *cells)
        table.add_section()
    return table


def _graders(evaluations: Sequence[Evaluation]) -> Rows:
    first = evaluations[0]
    yield "exact match", [_rate(e["exact_match"]) for e in evaluations]
    if first["samples"] > 1:
        yield f"maj@{first['samples']}", [_rate(e["majority"]) for e in evaluations]
        for k in first["pass_at"]:
            yield f"pass@{k}", [wording.percent(e["pass_at"][k]) for e in evaluations]
        for k in list(first.get("majority_at", ()))[1:-1]:  # 1 is exact match, the last is above
            yield f"maj@{k}", [wording.percent(e["majority_at"][k]) for e in evaluations]
        for name, label in wording.SOLVED.items():
            if name in first.get("solved", ()):
                yield label, [_of_problems(e, name) for e in evaluations]
    for name in first["published"]:
        yield name, [_rate(e["published"][name]) for e in evaluations]


def _outcomes(evaluations: Sequence[Evaluation]) -> Rows:
    """Yield outcome counts, then the kinds of mistakes in wrong answers."""
    for name, label in OUTCOMES.items():
        yield label, [_count(e, "outcomes", name) for e in evaluations]
    for name, label in ERRORS.items():
        yield label, [_count(e, "errors", name) for e in evaluations]


def _form(evaluations: Sequence[Evaluation]) -> Rows:
    for name, label in RATES.items():
        if all(name in e["rates"] for e in evaluations):  # an older version knew fewer
            yield label, [_rate(e["rates"][name]) for e in evaluations]


def _effort(evaluations: Sequence[Evaluation]) -> Rows:
    means = [(e["mean_tokens"], e["samples"]) for e in evaluations]
    tokens = [None if mean is None else mean * samples for mean, samples in means]
    yield "tokens per problem", [wording.number(n, 1) for n in tokens]
    seconds = [e["seconds_per_problem"] for e in evaluations]
    yield "seconds per problem", [wording.significant(n, 3) for n in seconds]
    found = [e["perplexity"] for e in evaluations]
    if all(found):
        for name, label in (("completion", "solutions"), ("whole_text", "whole texts")):
            yield f"perplexity of {label}", [wording.significant(each[name]) for each in found]


def _steps(evaluations: Sequence[Evaluation]) -> Rows:
    for steps in sorted(evaluations[0]["by_steps"], key=int):
        n = wording.count(evaluations[0]["by_steps"][steps]["n"])
        label = f"{steps} step{'' if steps == '1' else 's'} ({n})"
        yield label, [_rate(e["by_steps"][steps]) for e in evaluations]


def _types(evaluations: Sequence[Evaluation]) -> Rows:
    for name in evaluations[0]["by_type"]:
        n = wording.count(evaluations[0]["by_type"][name]["n"])
        yield f"{visible_line(name, MOST)} ({n})", [_rate(e["by_type"][name]) for e in evaluations]


def _rate(rate: Mapping[str, Any]) -> str:
    return f"{wording.percent(rate['value'])} ({wording.rate_interval(rate)})"


def _of_problems(evaluation: Evaluation, name: str) -> str:
    count = evaluation["solved"][name]
    return f"{wording.count(count)} ({wording.percent(count / evaluation['n'])})"


def _count(evaluation: Evaluation, field: str, name: str) -> str:
    count = evaluation[field][name]
    answers = sum(evaluation["outcomes"].values())
    return f"{wording.count(count)} ({wording.percent(count / answers)})"
