"""What was trained, how, on what machine and for how long, as lines of a list of facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mathtune.report import wording
from mathtune.report.facts import Fact, base_model, is_trained, mapping, method
from mathtune.report.reading import RunFiles
from mathtune.text.counts import counted


def training_facts(run: RunFiles) -> list[Fact]:
    """Yield what was trained, how, on what machine and for how long."""
    return [Fact(term, text) for term, text in _training_facts(run) if text]


def _training_facts(run: RunFiles) -> Iterator[tuple[str, str]]:
    manifest, training = run.manifest, mapping(run.manifest.get("training"))
    yield "Base model", base_model(run) or ""
    if is_trained(run):
        yield "Method", method(run) if run.recipe else ""
        yield from _parameter_facts(mapping(manifest.get("parameters")))
        yield "Optimisation", _optimisation(run)
        yield "Loss on", _loss_on(run.recipe)
        yield from _rounds(manifest.get("rft"))
    yield "Seed", str(manifest.get("seed", run.recipe.get("seed", "")))
    yield "Device", str(manifest.get("device") or "")
    dtype, reason = manifest.get("dtype"), manifest.get("dtype_reason")
    yield "Number type", f"{dtype} ({reason})" if dtype and reason else str(dtype or "")
    if training:
        steps, seconds = training.get("steps"), training.get("seconds")
        if wording.is_number(steps):
            ending = training.get("stopped")
            note = f", {_ENDINGS.get(str(ending), str(ending))}" if ending else ""
            yield "Length", f"{counted(int(steps), 'step')} in {wording.duration(seconds)}{note}"
        if wording.is_number(training.get("train_tokens")):
            yield "Tokens seen", wording.count(training["train_tokens"])
        if training.get("skipped_steps"):
            skipped = wording.count(training["skipped_steps"])
            yield "Steps left out", f"{skipped}, whose loss or gradient was not finite"
        if wording.is_number(training.get("best_step")):
            settings = mapping(run.recipe.get("train"))
            yield "Best checkpoint", best_checkpoint(training, run.validation, settings)


def best_checkpoint(
    training: Mapping[str, Any], lines: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]
) -> str:
    """Return the step of the checkpoint kept, the figure that chose it, then the other one.

    Args:
        training: ``training`` in ``manifest.json``.
        lines: Those of ``metrics.jsonl``.
        settings: The recipe's ``train``.
    """
    step = training["best_step"]
    found = [line["eval_exact_match"] for line in lines
             if line.get("step") == step and "eval_exact_match" in line]  # fmt: skip
    figures = [
        ("validation loss", wording.significant(training.get("best_eval_loss"))),
        ("validation exact match", wording.percent(found[-1] if found else None)),
    ]
    if settings.get("metric_for_best_model") == "eval_exact_match":
        figures.reverse()
    (name, value), (other, also) = figures
    # With one validation there is nothing to choose from.
    how = f"the last; {name}" if settings.get("eval_strategy") == "no" else f"chosen by {name}:"
    more = f"; {other} {also}" if also != wording.MISSING else ""
    return f"step {wording.count(step)}, {how} {value}{more}"


_ENDINGS = {"finished": "ran to the end", "early": "stopped early, as validation got no better"}


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


def _rounds(rounds: Any) -> Iterator[tuple[str, str]]:
    """Yield what each round of rejection sampling kept; samples are those of all rounds so far."""
    for each in rounds if isinstance(rounds, list) else ():
        kept = f"{wording.count(each.get('kept'))} of {wording.count(each.get('samples'))} samples"
        solved = wording.count(each.get("problems_with_a_sample_kept"))
        of = f"from {solved} of {wording.count(each.get('problems'))} problems"
        gold = (
            f", and {wording.count(each['gold'])} published solutions" if each.get("gold") else ""
        )
        yield f"Own answers, round {each.get('round')}", f"{kept} kept, {of}{gold}"


def _optimisation(run: RunFiles) -> str:
    train = mapping(run.recipe.get("train"))
    if not train:
        return ""
    batch = train.get("per_device_train_batch_size", 1)
    accumulation = train.get("gradient_accumulation_steps", 1)
    size = f"batches of {batch}" + (f" × {accumulation} accumulated" if accumulation != 1 else "")
    rate, schedule = wording.significant(train.get("learning_rate")), train.get("lr_scheduler_type")
    return f"{train.get('optim')}, learning rate {rate} ({schedule}), {size}"


def _loss_on(recipe: Mapping[str, Any]) -> str:
    """Return what the training loss is taken on; nothing where the recipe does not say."""
    train = mapping(recipe.get("train"))
    objective = str(train.get("objective", "sft"))
    own = mapping(recipe.get(objective))
    if objective == "grpo":
        return (
            f"own sampled answers, {own.get('num_generations')} per problem, each weighted by its "
            "reward against its group’s (policy gradient)"
            + _weighted(own.get("beta"), "KL divergence from the model before training")
        )
    if objective == "gkd":
        return (
            f"own sampled answers, {own.get('num_generations')} per problem: KL divergence from "
            f"the teacher {own.get('teacher_model_name_or_path')} at each token"
        )
    if objective == "dpo":
        pairs = f"pairs of a right and a wrong answer (DPO, beta {own.get('beta')})"
        return pairs + _weighted(own.get("rpo_alpha"), "negative log-likelihood of the right one")
    if objective == "verifier":
        return "the verdict on graded answers, right or wrong"
    if "completion_only_loss" not in train:
        return ""
    solutions, only = "solutions", " only"
    if mapping(recipe.get("rft")).get("rounds"):
        mixed = mapping(recipe.get("select")).get("gold")
        solutions = "own right answers" + (" and published solutions" if mixed else "")
        only = "" if mixed else only
    return f"{solutions}{only}" if train["completion_only_loss"] else f"questions and {solutions}"


def _weighted(weight: Any, term: str) -> str:
    return f", plus {wording.significant(weight)} × {term}" if weight else ""
