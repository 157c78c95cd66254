"""``README.md``: a model card with Hugging Face metadata and the report's facts in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mathtune.report import facts, wording
from mathtune.report.data import data_parts
from mathtune.report.reading import RunFiles
from mathtune.report.training_facts import training_facts

HUB_NAMES: Mapping[str, str] = {
    "gsm8k": "openai/gsm8k",
    "gsm8k-socratic": "openai/gsm8k",
    "orca-math": "microsoft/orca-math-word-problems-200k",
    "svamp": "ChilleD/SVAMP",
}
"""Known sets → their id on the hub."""

TOY_MODEL = "tiny-base"
"""The base model inside the package; it has no id on the hub."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
# Characters that Markdown and GitHub's extensions interpret anywhere; bare URLs become links.
_INLINE = re.compile(r"[\\`*\[\]|~$@]|(?<!\w)_|_(?!\w)|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
# Characters they interpret at the start of a line: list items, headings, rules.
_BLOCK = re.compile(r"^(\d*)([.)+-](?=\s|$)|#|=|--)")


def build_card(run: RunFiles) -> str:
    """Return the model card of a run folder: YAML front matter, then Markdown."""
    import yaml

    metadata = yaml.safe_dump(_metadata(run), sort_keys=False, allow_unicode=True)
    return f"---\n{metadata}---\n\n" + "\n".join(_body(run)).rstrip() + "\n"


def escape(text: object) -> str:
    """Return ``text`` on one line, so that Markdown and HTML show it literally."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BLOCK.sub(r"\1\\\2", _INLINE.sub(r"\\\g<0>", line))


def fenced(text: str, language: str = "text") -> list[str]:
    """Return ``text`` as a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.splitlines(), fence]


def _metadata(run: RunFiles) -> dict[str, Any]:
    trained, base = facts.is_trained(run), _hub_model(run)
    adapter = run.recipe.get("adapter") if trained else None
    metadata: dict[str, Any] = {}
    if base and trained:
        metadata["base_model"] = base
        metadata["base_model_relation"] = "adapter" if adapter else "finetune"
    datasets = _hub_datasets(run)
    if datasets and trained:
        metadata["datasets"] = datasets
    metadata["library_name"] = "peft" if adapter else "transformers"
    metadata["pipeline_tag"] = "text-generation"
    metadata["tags"] = ["mathtune", "math", "math-word-problems", *(["lora"] if adapter else [])]
    metadata["metrics"] = ["exact_match"]
    results = [entry for entry in _index_entries(run) if entry]
    if results:
        metadata["model-index"] = [{"name": facts.title(run), "results": results}]
    return metadata


def _hub_model(run: RunFiles) -> str | None:
    """Return the base model's hub id; None for a local folder, the toy model or random weights."""
    name = (run.recipe.get("model") or {}).get("name_or_path")
    if not name or name == TOY_MODEL or not _HUB_ID.fullmatch(str(name)) or Path(name).exists():
        return None
    return str(name)


def _hub_datasets(run: RunFiles) -> list[str]:
    data = run.recipe.get("data") or {}
    names = [source.get("name") for source in _mappings(data.get("train"))]
    ids = [HUB_NAMES.get(str(name), str(name)) for name in names if name]
    return [name for name in dict.fromkeys(ids) if "/" in name and _HUB_ID.fullmatch(name)]


def _index_entries(run: RunFiles) -> Iterable[dict[str, Any]]:
    """Yield a model-index result for each evaluation of the tuned model."""
    for name, calculators in facts.settings(run):
        for calculator in calculators:
            evaluation = facts.evaluations_of(run, name, calculator).get("tuned") or {}
            value = (evaluation.get("exact_match") or {}).get("value")
            if wording.is_number(value):
                yield {
                    "task": {"type": "text-generation", "name": "Math word problems"},
                    "dataset": {"name": name, "type": _dataset_type(run, name)},
                    "metrics": [
                        {
                            "type": "exact_match",
                            "name": f"exact match ({wording.calculator(calculator)})",
                            "value": round(value, 4),
                        }
                    ],
                }


def _dataset_type(run: RunFiles, label: str) -> str:
    """Return the hub id of a test set with one source there, else its label as a plain word."""
    for test in _mappings((run.recipe.get("data") or {}).get("test")):
        sources = _mappings(test.get("sources"))
        if test.get("label") == label and len(sources) == 1 and sources[0].get("name"):
            name = str(sources[0]["name"])
            return HUB_NAMES.get(name, name)
    return re.sub(r"\W+", "-", label).strip("-").lower() or "unnamed"


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value or () if isinstance(item, Mapping)]


def _body(run: RunFiles) -> Iterable[str]:
    yield from (f"# {escape(facts.title(run))}", "", escape(facts.verdict(run)), "")
    if run.recipe.get("description"):
        yield from (escape(run.recipe["description"]), "")
    yield from ("The same with charts and every answer: `report.html` in this folder.", "")
    if run.notes:
        yield from ("## What is missing", "", *(f"- {escape(note)}" for note in run.notes), "")
    yield from _results(run)
    yield from _training(run)
    yield from _use(run)
    yield from _example(run)
    making = [*facts.making_facts(run), *facts.measuring_facts(run)]
    if making:
        yield from ("## How it was made", "", *_fact_list(making), "")
    prints = [part for part in data_parts(run) if part.fingerprint != wording.MISSING]
    if prints:
        yield from ("Fingerprints of the data:", "")
        yield from _table(["Data", "Fingerprint"], [[p.name, p.fingerprint] for p in prints])


def _results(run: RunFiles) -> Iterable[str]:
    settings = facts.settings(run)
    if not settings:
        return
    yield from ("## Results", "")
    level = facts.confidence(run)
    first = facts.headline(run)
    method = escape(facts.interval_method(first.comparison if first else None))
    yield f"Exact match by mathtune’s grader; {level}intervals: Wilson for rates, {method} for"
    yield from ("differences, which are in percentage points; p: McNemar’s exact test.", "")
    heads = ["Set", "Calculator", "Problems", "Base", "Tuned", "Difference", "p", "Gained", "Lost"]
    yield from _table(
        heads, [_result_line(run, s, on) for s, choices in settings for on in choices]
    )
    if first and first.evaluations:
        setting = wording.calculator(first.calculator)
        yield f"Under each grader, on “{escape(first.set)}”, {setting}:"
        yield ""
        yield from _table(["Grader", "Base", "Tuned"], _grader_lines(first))
    lines = [
        [name, model, wording.number(p.get("completion")), wording.number(p.get("whole_text"))]
        for name, model, p in facts.perplexities(run)
    ]
    if lines:
        yield from ("Perplexity of the gold solutions:", "")
        yield from _table(["Set", "Model", "Solutions", "Question and solution"], lines)


def _result_line(run: RunFiles, name: str, calculator: bool) -> list[str]:
    measured = facts.evaluations_of(run, name, calculator)
    comparison = facts.comparison_of(run, name, calculator) or {}
    n = next((evaluation.get("n") for evaluation in measured.values()), None)
    low, high = comparison.get("difference_low"), comparison.get("difference_high")
    interval = f" ({wording.difference_interval(low, high)})" if low is not None else ""
    return [
        name,
        "on" if calculator else "off",
        wording.count(n),
        *(_rate(measured.get(model, {}).get("exact_match")) for model in wording.MODELS),
        wording.signed_points(comparison.get("difference")) + interval,
        wording.p_value(comparison.get("mcnemar_p")),
        wording.count(comparison.get("gained")),
        wording.count(comparison.get("lost")),
    ]


def _grader_lines(first: facts.Headline) -> list[list[str]]:
    rates = {
        model: {"mathtune": evaluation.get("exact_match"), **(evaluation.get("published") or {})}
        for model, evaluation in first.evaluations.items()
    }
    graders = dict.fromkeys(grader for by_grader in rates.values() for grader in by_grader)
    return [
        [
            wording.GRADERS.get(grader, (grader, ""))[0],
            *(_rate(rates.get(model, {}).get(grader)) for model in wording.MODELS),
        ]
        for grader in graders
    ]


def _rate(rate: Mapping[str, Any] | None) -> str:
    if not rate:
        return wording.MISSING
    return f"{wording.percent(rate.get('value'))} ({wording.rate_interval(rate)})"


def _training(run: RunFiles) -> Iterable[str]:
    lines = training_facts(run)
    if lines:
        yield from ("## What was trained on what", "", *_fact_list(lines), "")
    parts = data_parts(run)
    if parts:
        rows = [[part.name, part.n, part.sources, part.dropped] for part in parts]
        yield from _table(["Data", "Problems", "Sources", "Dropped"], rows)


def _use(run: RunFiles) -> Iterable[str]:
    """Yield how to ask the tuned model, prompted as it was trained."""
    if not facts.is_trained(run):
        return
    style = (run.recipe.get("prompt") or {}).get("style") or "qa"
    what = "adapter" if run.recipe.get("adapter") else "model"
    yield from ("## Use", "", f"The tuned {what} is in `model/`. In this folder:", "")
    yield from (*fenced(f"mathtune chat model --style {style}", "sh"), "")


def _example(run: RunFiles) -> Iterable[str]:
    example = run.results.get("example") or {}
    if not (example.get("question") and example.get("answers")):
        return
    yield from ("## One problem, answered by both", "")
    yield from (*fenced(str(example["question"])), "")
    for answer in example.get("answers") or ():
        setting = wording.calculator(answer.get("calculator"))
        yield from (f"**{escape(answer.get('model'))}**, {setting}:", "")
        yield from (*fenced(str(answer.get("completion") or "(empty)")), "")


def _fact_list(items: Iterable[facts.Fact]) -> list[str]:
    return [f"- **{escape(fact.term)}:** {escape(fact.text)}" for fact in items]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(escape(cell) for cell in row) for row in rows]
    return [*(f"| {line} |" for line in lines), ""]
