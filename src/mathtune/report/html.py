"""``report.html``: one file, no network, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mathtune.report import curves, facts, panels, wording
from mathtune.report.answers import answer_table
from mathtune.report.choices import choices_of
from mathtune.report.data import data_parts
from mathtune.report.reading import RunFiles
from mathtune.report.rounds import rounds_of
from mathtune.report.training_facts import training_facts

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def build_html(run: RunFiles) -> str:
    """Return the report page of a run folder as one self-contained HTML document."""
    style = (TEMPLATES / "report.css").read_text("utf-8")
    script = (TEMPLATES / "report.js").read_text("utf-8")
    table = answer_table(run)
    from markupsafe import Markup

    template = make_environment().get_template("report.html.j2")
    return template.render(
        **sections(run),
        policy=_content_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        rows=Markup(table.script()) if table else None,
        left_out=wording.count(table.left_out) if table and table.left_out else None,
    )


def sections(run: RunFiles) -> dict[str, Any]:
    """Return what ``sections.html.j2`` and ``made.html.j2`` show of a run."""
    first = facts.headline(run)
    settings = facts.settings(run)
    return {
        "title": facts.title(run),
        "description": run.recipe.get("description") or "",
        "verdict": facts.verdict(run),
        "notes": run.notes,
        "base_model": facts.base_model(run),
        "headline": first,
        "comparison": _comparison(first.comparison) if first and first.comparison else None,
        "confidence": facts.confidence(run),
        "samples": _samples(first) if first else 1,
        "key_bars": panels.headline_bars(first, run) if first else None,
        "overview": _overview(run),
        "trained": facts.is_trained(run),
        "training": training_facts(run),
        "data": data_parts(run),
        "rounds": rounds_of(run),
        "choices": choices_of(run),
        "curves": curves.training_charts(run),
        "learning": curves.learning_charts(run),
        "validations": curves.validation_lines(run),
        "graders": [(name, panels.grader_panels(run, name, choices)) for name, choices in settings],
        "types": [
            (name, parts)
            for name, choices in settings
            if (parts := panels.breakdown_panels(run, name, choices[0]))
        ],
        "outcomes": [
            (name, panels.outcome_panels(run, name, choices[0])) for name, choices in settings
        ],
        "perplexities": [
            {
                "set": name,
                "model": model,
                "completion": wording.number(perplexity.get("completion")),
                "completion_tokens": wording.count(perplexity.get("completion_tokens")),
                "whole": wording.number(perplexity.get("whole_text")),
                "whole_tokens": wording.count(perplexity.get("whole_text_tokens")),
            }
            for name, model, perplexity in facts.perplexities(run)
        ],
        "example": _example(run, first.calculator if first else False),
        "measuring": facts.measuring_facts(run),
        "making": facts.making_facts(run),
        "recipe": _recipe_text(run),
    }


def make_environment(*folders: Path) -> Environment:
    """Return what renders the report's templates, and those of further folders."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["calculator"] = wording.calculator
    environment.globals["missing"] = wording.MISSING
    return environment


def _content_policy(style: str, script: str) -> str:
    """Allow exactly this style and this script; no other code, no request of any kind.

    A second defence behind the escaping: even markup that got through could not run or load.
    """
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _samples(first: facts.Headline) -> int:
    return max((int(e.get("samples") or 1) for e in first.evaluations.values()), default=1)


def _can_show(smallest: Any) -> bool:
    """Return whether any difference could be shown; one of 1 means that too few problems were."""
    return wording.is_number(smallest) and smallest < 1


def _comparison(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Return a comparison's figures as text."""
    low, high = comparison.get("difference_low"), comparison.get("difference_high")
    smallest = comparison.get("smallest_detectable_difference")
    return {
        "difference": wording.signed_points(comparison.get("difference")),
        "interval": wording.difference_interval(low, high),
        "method": facts.interval_method(comparison),
        "p": wording.p_value(comparison.get("mcnemar_p")),
        "gained": wording.count(comparison.get("gained")),
        "lost": wording.count(comparison.get("lost")),
        "smallest": wording.number(100 * smallest, 1) if smallest and _can_show(smallest) else "",
    }


def _overview(run: RunFiles) -> list[dict[str, Any]]:
    """Return one line for each set and calculator setting."""
    lines = []
    for name, calculators in facts.settings(run):
        for calculator in calculators:
            measured = facts.evaluations_of(run, name, calculator)
            rates = {
                model: evaluation.get("exact_match") or {} for model, evaluation in measured.items()
            }
            comparison = facts.comparison_of(run, name, calculator)
            n = next((evaluation.get("n") for evaluation in measured.values()), None)
            lines.append(
                {
                    "set": name,
                    "calculator": "on" if calculator else "off",
                    "n": wording.count(n),
                    "rates": [
                        (
                            model,
                            wording.percent(rates.get(model, {}).get("value")),
                            wording.rate_interval(rates.get(model, {})),
                        )
                        for model in wording.MODELS
                    ],
                    "comparison": _comparison(comparison or {}),
                }
            )
    return lines


def _example(run: RunFiles, calculator: bool) -> dict[str, Any] | None:
    """Return the example problem with its answers per calculator setting, the headline's first."""
    example = run.results.get("example") or {}
    answers = example.get("answers") or []
    if not (example.get("question") and answers):
        return None
    choices = sorted({bool(answer.get("calculator")) for answer in answers}, key=calculator.__ne__)
    return {
        "question": example["question"],
        "settings": [
            (
                wording.calculator(choice).capitalize(),
                [
                    (model, str(answer.get("completion") or "").strip())
                    for model in wording.MODELS
                    for answer in answers
                    if answer.get("model") == model and bool(answer.get("calculator")) == choice
                ],
            )
            for choice in choices
        ],
    }


def _recipe_text(run: RunFiles) -> str:
    if not run.recipe:
        return ""
    import yaml

    return yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True, width=88)
