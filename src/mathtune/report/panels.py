"""Bars of base and tuned side by side: under each grader, by type and steps, by outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mathtune.report import charts, facts, wording
from mathtune.report.reading import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Bar:
    """One model's bar: the picture and the figures next to it."""

    model: str
    picture: Markup
    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars of base and tuned under one label."""

    label: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled list of bar groups."""

    title: str
    groups: tuple[BarGroup, ...]


def _group(
    label: str, note: str, rates: Mapping[str, Mapping[str, Any]], run: RunFiles
) -> BarGroup:
    return BarGroup(
        label,
        note,
        tuple(
            Bar(
                model,
                picture(charts.rate_bar(model, model, rate, facts.confidence(run))),
                wording.percent(rate.get("value")),
                wording.rate_interval(rate) if "low" in rate else _of(rate),
            )
            for model, rate in rates.items()
        ),
    )


def _of(rate: Mapping[str, Any]) -> str:
    if "n" not in rate:
        return ""
    return f"{wording.count(rate.get('correct'))} of {wording.count(rate.get('n'))}"


def headline_bars(first: facts.Headline, run: RunFiles) -> BarGroup:
    """Return the bars of exact match on the headline set."""
    return _group("", "", _exact_match(first.evaluations), run)


def _exact_match(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {
        model: evaluation["exact_match"]
        for model, evaluation in evaluations.items()
        if evaluation.get("exact_match")
    }


def grader_panels(run: RunFiles, name: str, calculators: Iterable[bool]) -> list[Panel]:
    """Return a panel per calculator setting with mathtune's and the published graders."""
    panels = []
    for calculator in sorted(calculators, reverse=True):
        measured = facts.evaluations_of(run, name, calculator)
        published = {
            model: evaluation.get("published") or {} for model, evaluation in measured.items()
        }
        groups = [_group(*wording.GRADERS["mathtune"], _exact_match(measured), run)]
        groups += _sample_groups(run, measured)
        for grader in dict.fromkeys(grader for rates in published.values() for grader in rates):
            label, note = wording.GRADERS.get(grader, (grader, ""))
            rates = {model: rates[grader] for model, rates in published.items() if grader in rates}
            groups.append(_group(label, note, rates, run))
        panels.append(Panel(wording.calculator(calculator).capitalize(), tuple(groups)))
    return panels


def _sample_groups(run: RunFiles, measured: Mapping[str, Mapping[str, Any]]) -> Iterable[BarGroup]:
    """Yield the majority answer's rate and pass@k, if there were several samples per problem."""
    majority = {model: e["majority"] for model, e in measured.items() if e.get("majority")}
    if majority:
        yield _group("mathtune, majority answer", "the answer most samples give", majority, run)
    passes = {model: e.get("pass_at") or {} for model, e in measured.items()}
    for k in dict.fromkeys(k for by_k in passes.values() for k in by_k):
        rates = {model: {"value": by_k[k]} for model, by_k in passes.items() if k in by_k}
        yield _group(f"pass@{k}", "unbiased, any of k samples right", rates, run)
    votes = {model: e.get("majority_at") or {} for model, e in measured.items()}
    for k in dict.fromkeys(k for by_k in votes.values() for k in list(by_k)[1:-1]):
        rates = {model: {"value": by_k[k]} for model, by_k in votes.items() if k in by_k}
        yield _group(f"maj@{k}", "the majority answer of k samples", rates, run)


def breakdown_panels(run: RunFiles, name: str, calculator: bool) -> list[Panel]:
    """Return accuracy by problem type and by number of steps, if known."""
    measured = facts.evaluations_of(run, name, calculator)
    types = _breakdown(run, measured, "by_type")
    steps = _breakdown(run, measured, "by_steps")
    by_steps = sorted(steps, key=lambda item: (not item.label.isdigit(), item.label.zfill(6)))
    by_steps = [
        BarGroup(f"{group.label} step{'' if group.label == '1' else 's'}", group.note, group.bars)
        for group in by_steps
    ]
    panels = [Panel("By type", tuple(types)), Panel("By number of steps", tuple(by_steps))]
    return [panel for panel in panels if panel.groups]


def _breakdown(
    run: RunFiles, measured: Mapping[str, Mapping[str, Any]], field: str
) -> list[BarGroup]:
    parts = {model: evaluation.get(field) or {} for model, evaluation in measured.items()}
    groups = []
    for label in sorted({label for part in parts.values() for label in part}):
        rates = {model: part[label] for model, part in parts.items() if label in part}
        n = next((rate.get("n") for rate in rates.values()), None)
        groups.append(
            _group(label, f"{wording.count(n)} problem{'' if n == 1 else 's'}", rates, run)
        )
    return groups


def outcome_panels(run: RunFiles, name: str, calculator: bool) -> list[Panel]:
    """Return outcomes, kinds of error, where answers were found, why texts ended, pass rates."""
    measured = facts.evaluations_of(run, name, calculator)
    tables = {
        "Outcomes": ("outcomes", wording.OUTCOMES),
        "Kinds of error": ("errors", wording.ERRORS),
        "Where the answer was found": ("methods", wording.METHODS),
        "Why the text ended": ("stop_reasons", wording.STOP_REASONS),
    }
    counted = [
        (title, tuple(_count_groups(run, measured, field, names)))
        for title, (field, names) in tables.items()
    ]
    counted.append(("Problems by pass rate", tuple(_solved_groups(run, measured))))
    return [Panel(title, groups) for title, groups in counted if groups]


def _solved_groups(run: RunFiles, measured: Mapping[str, Mapping[str, Any]]) -> Iterable[BarGroup]:
    """Yield how many problems were solved by none, some and all of their samples."""
    for name, label in wording.SOLVED.items():
        rates = {
            model: {"value": solved[name] / e["n"], "correct": solved[name], "n": e["n"]}
            for model, e in measured.items()
            if e.get("n") and name in (solved := e.get("solved") or {})
        }
        if rates:
            yield _group(label, _SOLVED_NOTES[name], rates, run)


_SOLVED_NOTES = {
    "never": "no sample is right: nothing to learn from yet",
    "sometimes": "some samples are right: what learning from own answers lives on",
    "always": "every sample is right",
}


def _count_groups(
    run: RunFiles,
    measured: Mapping[str, Mapping[str, Any]],
    field: str,
    names: Mapping[str, str],
) -> Iterable[BarGroup]:
    """Yield a group for each thing that was counted at least once, as a share of all answers."""
    counts = {model: evaluation.get(field) or {} for model, evaluation in measured.items()}
    found = {name for part in counts.values() for name, n in part.items() if n}
    for name in [*(n for n in names if n in found), *sorted(found - set(names))]:
        label, _, note = names.get(name, name).partition(": ")
        rates = {}
        for model, part in counts.items():
            # Completions, not problems: with several samples per problem there are more of them.
            total = sum((measured[model].get("outcomes") or {}).values())
            n = part.get(name) or 0
            rates[model] = {"value": n / total if total else None, "correct": n, "n": total}
        yield _group(label, note, rates, run)


def picture(svg: str) -> Markup:
    """Mark a drawing of ``charts`` as safe: it was built as a tree, so its texts are escaped."""
    from markupsafe import Markup

    return Markup(svg)
