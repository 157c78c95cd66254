"""What the page and the model card both say about a run, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.report import wording
from mathtune.report.reading import RunFiles


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a list of facts: a term and what holds for it."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the data as it was used: training, validation or a test set."""

    name: str
    n: str
    sources: str
    dropped: str
    fingerprint: str


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
    """Return the recipe's name, or the folder's where there is no recipe."""
    return str(run.recipe.get("name") or run.name)


def base_model(run: RunFiles) -> str | None:
    """Return the base model's name or path, a description of random weights, or None."""
    model = _mapping(run.recipe.get("model"))
    if model.get("name_or_path"):
        return str(model["name_or_path"])
    if model.get("from_config"):
        return f"random weights ({_mapping(model['from_config']).get('model_type', 'unknown')})"
    return None


def is_trained(run: RunFiles) -> bool:
    """Return whether the folder holds signs of training, and not only of an evaluation."""
    noted = run.manifest.get("training") or run.manifest.get("parameters")
    return bool(run.training or run.validation or noted)


def method(run: RunFiles) -> str:
    """Say how the model was trained: full, LoRA or QLoRA, with the adapter's settings."""
    if not run.recipe:
        return wording.MISSING
    model, adapter = _mapping(run.recipe.get("model")), _mapping(run.recipe.get("adapter"))
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
    named = _mapping(run.results.get("headline")) or (evaluations[0] if evaluations else {})
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
            return _mapping(comparison)
    return None


def settings(run: RunFiles) -> list[tuple[str, list[bool]]]:
    """Return each set that was evaluated with its calculator settings, headline first."""
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
        return str(first.comparison["verdict"])
    level = confidence(run)
    measured = [
        f"the {model} model answers {wording.percent(rate.get('value'))} of "
        f"{wording.count(rate.get('n'))} problems right "
        f"({level}interval {wording.rate_interval(rate)})"
        for model, evaluation in first.evaluations.items()
        for rate in (_mapping(evaluation.get("exact_match")),)
    ]
    if not measured:
        return f"Neither model has been evaluated on the headline set, “{first.set}”."
    ending = (
        "the two were not compared" if len(measured) > 1 else "there is no other to compare with"
    )
    return f"On “{first.set}” {' and '.join(measured)}; {ending}."


def confidence(run: RunFiles) -> str:
    """Return the level of the intervals as ``"95 % "``, or ``""`` where it is not known."""
    first = headline(run)
    level = (first.comparison or {}).get("confidence") if first else None
    level = level or _mapping(run.recipe.get("eval")).get("confidence")
    return f"{wording.percent(level, 0)} " if wording.is_number(level) else ""


def training_facts(run: RunFiles) -> list[Fact]:
    """Say what was trained, how, on what machine and for how long."""
    return [Fact(term, text) for term, text in _training_facts(run) if text]


def _training_facts(run: RunFiles) -> Iterator[tuple[str, str]]:
    manifest, training = run.manifest, _mapping(run.manifest.get("training"))
    yield "Base model", base_model(run) or ""
    if is_trained(run):
        yield "Method", method(run) if run.recipe else ""
        yield from _parameter_facts(_mapping(manifest.get("parameters")))
        yield "Optimisation", _optimisation(run)
        yield "Loss on", _supervised(run)
    yield "Seed", str(manifest.get("seed", run.recipe.get("seed", "")))
    yield "Device", str(manifest.get("device") or "")
    yield "Number type", _joined(manifest.get("dtype"), manifest.get("dtype_reason"))
    if training:
        steps, seconds = training.get("steps"), training.get("seconds")
        if wording.is_number(steps):
            ending = training.get("stopped")
            note = f", {_ENDINGS.get(str(ending), str(ending))}" if ending else ""
            yield "Length", f"{wording.count(steps)} steps in {wording.duration(seconds)}{note}"
        if wording.is_number(training.get("train_tokens")):
            yield "Tokens seen", wording.count(training["train_tokens"])
        if wording.is_number(training.get("best_step")):
            loss = wording.significant(training.get("best_eval_loss"))
            step = wording.count(training["best_step"])
            yield "Best checkpoint", f"step {step}, validation loss {loss}"


_ENDINGS = {"finished": "ran to the end", "early": "stopped early by validation loss"}


def _parameter_facts(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield trainable parameters as a share of the true count and of the 4-bit-packed one."""
    total, trainable = parameters.get("total"), parameters.get("trainable")
    packed = parameters.get("total_packed")
    if not wording.is_number(trainable):
        return
    text = wording.count(trainable)
    if total and wording.is_number(total):
        text += f", {wording.percent(trainable / total, 2)} of {wording.count(total)}"
    if packed and wording.is_number(packed) and packed != total:
        text += (
            f" (true count); {wording.percent(trainable / packed, 2)} of the "
            f"{wording.count(packed)} that a 4-bit-packed count shows"
        )
    yield "Trainable parameters", text


def _optimisation(run: RunFiles) -> str:
    train = _mapping(run.recipe.get("train"))
    if not train:
        return ""
    batch = train.get("per_device_train_batch_size", 1)
    accumulation = train.get("gradient_accumulation_steps", 1)
    size = f"batches of {batch}" + (f" × {accumulation} accumulated" if accumulation != 1 else "")
    rate, schedule = wording.significant(train.get("learning_rate")), train.get("lr_scheduler_type")
    return f"{train.get('optim')}, learning rate {rate} ({schedule}), {size}"


def _supervised(run: RunFiles) -> str:
    train = _mapping(run.recipe.get("train"))
    if "completion_only_loss" not in train:
        return ""
    return "solutions only" if train["completion_only_loss"] else "questions and solutions"


def data_parts(run: RunFiles) -> list[Part]:
    """List training, validation and test data with counts, sources and what was dropped."""
    data = _mapping(run.manifest.get("data"))
    named = [(name.capitalize(), _mapping(data.get(name))) for name in ("train", "validation")]
    tests = [(f"Test: {test.get('label', '')}", _mapping(test)) for test in data.get("test") or ()]
    labels = {"Train": "Training"}
    configured = _configured_sources(run)
    too_long = _mapping(_mapping(run.manifest.get("training")).get("too_long"))
    return [
        Part(
            name=labels.get(name, name),
            n=wording.count(part.get("n")),
            sources=_sources(part.get("sources")) or configured.get(name, ""),
            dropped=_dropped(part, too_long.get(name.lower())),
            fingerprint=str(part.get("fingerprint") or wording.MISSING),
        )
        for name, part in named + tests
        if part.get("n") or part.get("dropped")
    ]


def _configured_sources(run: RunFiles) -> dict[str, str]:
    """Return the recipe's sources a part, for parts whose manifest entry names none."""
    data = _mapping(run.recipe.get("data"))
    held_out = wording.percent(data.get("validation_fraction"), 0)
    found = {
        "Train": _sources(data.get("train")),
        "Validation": _sources(data.get("validation")) or f"{held_out} held out of training",
    }
    for test in data.get("test") or ():
        test = _mapping(test)
        found[f"Test: {test.get('label', '')}"] = _sources(test.get("sources"))
    return found


def _sources(value: Any) -> str:
    return "; ".join(filter(None, (_source(item) for item in value or ())))


def _source(value: Any) -> str:
    """Name a source; a mapping is written as its name and then ``(key=value)`` for what is set."""
    if not isinstance(value, Mapping):
        return str(value)
    name = next((value[key] for key in ("name", "path", "source", "label") if value.get(key)), "")
    if not name and value.get("generated"):
        name = f"generated {value['generated']}"
    skip = {"name", "path", "source", "label", "generated", "fields"}
    rest = [f"{key}={item}" for key, item in value.items() if key not in skip and item is not None]
    return f"{name} ({', '.join(rest)})" if rest else str(name)


def _dropped(part: Mapping[str, Any], too_long: Any) -> str:
    """List what was dropped by reason, then what was kept in spite of a doubt."""
    reasons = {**_mapping(part.get("dropped")), "longer than max_length": too_long}
    lost = [f"{reason}: {wording.count(n)}" for reason, n in reasons.items() if n]
    kept = [f"{why}: {wording.count(n)}" for why, n in _mapping(part.get("kept")).items() if n]
    return "; ".join([*lost, *kept]) or "none"


def measuring_facts(run: RunFiles) -> list[Fact]:
    """Say how the models were asked: prompt style, decoding, limits."""
    rows = [row for model in wording.MODELS for row in run.answers.get(model, ())[:1]]
    decoding = _mapping(rows[0].get("decoding")) if rows else {}
    style = rows[0].get("style") if rows else _mapping(run.recipe.get("prompt")).get("style")
    facts = [Fact("Prompt style", str(style))] if style else []
    if decoding:
        temperature = decoding.get("temperature")
        way = (
            f"temperature {temperature}, top-p {decoding.get('top_p')}" if temperature else "greedy"
        )
        facts.append(
            Fact("Decoding", f"{way}, at most {decoding.get('max_new_tokens')} new tokens")
        )
        if (decoding.get("samples") or 1) > 1:
            facts.append(Fact("Answers a problem", wording.count(decoding["samples"])))
        stop = [repr(text) for text in decoding.get("stop") or ()]
        if stop:
            facts.append(Fact("Stops at", ", ".join(stop)))
    return facts


def making_facts(run: RunFiles) -> list[Fact]:
    """Say how the run can be made again: command, time, versions, source, machine."""
    manifest, git = run.manifest, _mapping(run.manifest.get("git"))
    stages = _mapping(manifest.get("stages"))
    commit = str(git.get("commit") or git.get("sha") or "")
    if commit and git.get("dirty"):
        commit += " with uncommitted changes"
    versions = _mapping(manifest.get("versions"))
    lines = {
        "Command": manifest.get("command"),
        "Created": manifest.get("created"),
        "Stages finished": "; ".join(f"{name} {time}" for name, time in stages.items()),
        "mathtune": manifest.get("mathtune"),
        "Source": commit,
        "Libraries": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Python": manifest.get("python"),
        "Platform": manifest.get("platform"),
        "Device": manifest.get("device"),
        "Seed": manifest.get("seed"),
    }
    return [Fact(term, str(text)) for term, text in lines.items() if text not in (None, "")]


def perplexities(run: RunFiles) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    """Return ``(set, model, perplexity)``, once a set: it does not depend on the calculator."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, calculators in settings(run):
        for setting in calculators:
            for model, evaluation in evaluations_of(run, name, setting).items():
                if evaluation.get("perplexity"):
                    found.setdefault((name, model), _mapping(evaluation["perplexity"]))
    return [(name, model, perplexity) for (name, model), perplexity in found.items()]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _joined(first: Any, second: Any) -> str:
    return ": ".join(str(part) for part in (first, second) if part)
