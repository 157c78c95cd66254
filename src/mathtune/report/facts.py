"""What the page and the model card both say about a run, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.report import wording
from mathtune.report.reading import RunFiles


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a list of facts: a term and its text."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The set and calculator setting that the report leads with.

    Attributes:
        set: Label of the test set.
        calculator: Setting.
        evaluations: Model → its entry of ``evaluations``; models not measured are absent.
        comparison: The entry of ``comparisons``, or None.
    """

    set: str
    calculator: bool
    evaluations: Mapping[str, Mapping[str, Any]]
    comparison: Mapping[str, Any] | None


def title(run: RunFiles) -> str:
    """Return the recipe's name, or the folder's if there is no recipe."""
    return str(run.recipe.get("name") or run.name)


def base_model(run: RunFiles) -> str | None:
    """Return the base model's name or path, a description of random weights, or None."""
    model = mapping(run.recipe.get("model"))
    if model.get("name_or_path"):
        return str(model["name_or_path"])
    if model.get("from_config"):
        return f"random weights ({mapping(model['from_config']).get('model_type', 'unknown')})"
    return None


def is_trained(run: RunFiles) -> bool:
    """Return whether the folder shows signs of training, not only of an evaluation."""
    noted = run.manifest.get("training") or run.manifest.get("parameters")
    return bool(run.training or run.validation or noted)


def method(run: RunFiles) -> str:
    """Return how the model was trained: full, LoRA or QLoRA, with the adapter's settings."""
    if not run.recipe:
        return wording.MISSING
    model, adapter = mapping(run.recipe.get("model")), mapping(run.recipe.get("adapter"))
    if not adapter:
        return "full fine-tuning: all weights are trained"
    name = "DoRA" if adapter.get("use_dora") else "LoRA"
    if model.get("load_in_4bit"):
        quant = str(model.get("bnb_4bit_quant_type", "nf4")).upper()
        double = " with double quantisation" if model.get("bnb_4bit_use_double_quant") else ""
        name = f"Q{name} ({quant}{double})"
    targets = adapter.get("target_modules", "all-linear")
    where = targets if isinstance(targets, str) else ", ".join(map(str, targets))
    scale = "rank-stabilised, " if adapter.get("use_rslora") else ""
    alpha = wording.significant(adapter.get("lora_alpha"))
    return f"{name}, {scale}r={adapter.get('r')}, alpha={alpha}, on {where}"


def headline(run: RunFiles) -> Headline | None:
    """Return the headline: as ``results.json`` names it, else its first evaluation."""
    evaluations = run.results.get("evaluations") or []
    named = mapping(run.results.get("headline")) or (evaluations[0] if evaluations else {})
    if not named:
        return None
    name, calculator = str(named.get("set")), bool(named.get("calculator"))
    measured = evaluations_of(run, name, calculator)
    return Headline(name, calculator, measured, comparison_of(run, name, calculator))


def evaluations_of(run: RunFiles, name: str, calculator: bool) -> dict[str, Mapping[str, Any]]:
    """Return model → evaluation of one set and calculator setting, base first."""
    found = {
        str(evaluation.get("model")): evaluation
        for evaluation in run.results.get("evaluations") or ()
        if str(evaluation.get("set")) == name and bool(evaluation.get("calculator")) == calculator
    }
    return {model: found[model] for model in wording.MODELS if model in found}


def comparison_of(run: RunFiles, name: str, calculator: bool) -> Mapping[str, Any] | None:
    """Return the comparison of one set and calculator setting, or None."""
    for comparison in run.results.get("comparisons") or ():
        if str(comparison.get("set")) == name and bool(comparison.get("calculator")) == calculator:
            return mapping(comparison)
    return None


def settings(run: RunFiles) -> list[tuple[str, list[bool]]]:
    """Return each evaluated set with its calculator settings, headline first."""
    first = headline(run)
    found: dict[str, list[bool]] = {first.set: [first.calculator]} if first else {}
    for evaluation in run.results.get("evaluations") or ():
        known = found.setdefault(str(evaluation.get("set")), [])
        if bool(evaluation.get("calculator")) not in known:
            known.append(bool(evaluation.get("calculator")))
    return list(found.items())


def verdict(run: RunFiles) -> str:
    """Return the outcome of the run in one sentence."""
    first = headline(run)
    if first is None:
        state = "has been trained but not evaluated" if is_trained(run) else "was not evaluated"
        return f"This run {state}, so nothing is known about its answers."
    if first.comparison and first.comparison.get("verdict"):
        return wording.typeset(str(first.comparison["verdict"]))
    level = confidence(run)
    measured = [
        f"the {model} model answers {wording.percent(rate.get('value'))} of "
        f"{wording.count(rate.get('n'))} problems right "
        f"({level}interval {wording.rate_interval(rate)})"
        for model, evaluation in first.evaluations.items()
        for rate in (mapping(evaluation.get("exact_match")),)
    ]
    if not measured:
        return f"Neither model has been evaluated on the headline set, “{first.set}”."
    ending = (
        "the two were not compared" if len(measured) > 1 else "there is no other to compare with"
    )
    return f"On “{first.set}” {' and '.join(measured)}; {ending}."


def confidence(run: RunFiles) -> str:
    """Return the level of the intervals as ``"95 % "``, or ``""`` if it is unknown."""
    first = headline(run)
    noted = [first.comparison or {}, *first.evaluations.values()] if first else []
    noted.append(mapping(run.recipe.get("eval")))
    level = next((each["confidence"] for each in noted if each.get("confidence")), None)
    return f"{wording.percent(level, 0)} " if wording.is_number(level) else ""


def interval_method(comparison: Mapping[str, Any] | None) -> str:
    """Return how the interval of a difference was found; earlier versions knew only one method."""
    return str((comparison or {}).get("interval_method") or "paired bootstrap")


def measuring_facts(run: RunFiles) -> list[Fact]:
    """Return how the models were prompted: prompt style, decoding, limits."""
    rows = [row for model in wording.MODELS for row in run.answers.get(model, ())[:1]]
    decoding = mapping(rows[0].get("decoding")) if rows else {}
    style = rows[0].get("style") if rows else mapping(run.recipe.get("prompt")).get("style")
    facts = [Fact("Prompt style", str(style))] if style else []
    asked = mapping(run.recipe.get("eval"))
    if asked.get("engine") == "openai":
        facts.append(Fact("Server", f"{asked.get('base_url')}, {asked.get('endpoint')} endpoint"))
    elif asked.get("engine"):
        facts.append(Fact("Engine", str(asked["engine"])))
    prompt = mapping(run.recipe.get("prompt"))
    if prompt.get("shots"):
        shown = f"{prompt['shots']} ({prompt.get('shot_source')})"
        facts.append(Fact("Solved examples before each question", shown))
    if decoding:
        temperature = decoding.get("temperature")
        way = (
            f"temperature {temperature}, top-p {decoding.get('top_p')}" if temperature else "greedy"
        )
        facts.append(
            Fact("Decoding", f"{way}, at most {decoding.get('max_new_tokens')} new tokens")
        )
        if decoding.get("stop_repetition"):
            facts.append(Fact("Answers that only repeat themselves", "stopped"))
        if (decoding.get("samples") or 1) > 1:
            facts.append(Fact("Answers per problem", wording.count(decoding["samples"])))
        stop = [repr(text) for text in decoding.get("stop") or ()]
        if stop:
            facts.append(Fact("Stops at", ", ".join(stop)))
    return facts


def making_facts(run: RunFiles) -> list[Fact]:
    """Yield how the run can be reproduced: command, time, versions, source, machine."""
    manifest, git = run.manifest, mapping(run.manifest.get("git"))
    stages = mapping(manifest.get("stages"))
    commit = str(git.get("commit") or git.get("sha") or "")
    if commit and git.get("dirty"):
        commit += " with uncommitted changes"
    versions = mapping(manifest.get("versions"))
    lines = {
        "Command": manifest.get("command"),
        "Created": _moment(manifest.get("created")),
        "Stages finished": "; ".join(f"{name} {_moment(time)}" for name, time in stages.items()),
        "mathtune": manifest.get("mathtune"),
        "Source": commit,
        "Libraries": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Python": manifest.get("python"),
        "Platform": manifest.get("platform"),
        "Device": manifest.get("device"),
        "Seed": manifest.get("seed"),
    }
    return [Fact(term, str(text)) for term, text in lines.items() if text not in (None, "")]


def _moment(noted: Any) -> str:
    """Return an ISO time as ``2026-11-27 08:29:07 UTC``."""
    return str(noted or "").replace("T", wording.NBSP).replace("+00:00", f"{wording.NBSP}UTC")


def perplexities(run: RunFiles) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    """Return ``(set, model, perplexity)``, once per set: it does not depend on the calculator."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, calculators in settings(run):
        for setting in calculators:
            for model, evaluation in evaluations_of(run, name, setting).items():
                if evaluation.get("perplexity"):
                    found.setdefault((name, model), mapping(evaluation["perplexity"]))
    return [(name, model, perplexity) for (name, model), perplexity in found.items()]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}
