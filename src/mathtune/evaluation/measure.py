"""Measure one model on every test set, with the calculator on and off where its engine has one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mathtune import progress, ranks
from mathtune.config.schema import EvalConfig
from mathtune.evaluation.compare import compare
from mathtune.evaluation.evaluate import Evaluation, evaluate
from mathtune.evaluation.perplexity import Perplexity, saved_perplexity
from mathtune.evaluation.predictions.light_rows import read_light_rows
from mathtune.evaluation.predictions.pass_rates import write_pass_rates
from mathtune.evaluation.predictions.timing import read_timing
from mathtune.evaluation.time_left import SHORT_SECONDS, AnswerCount, in_words
from mathtune.generation.engine import Decoding, Engine
from mathtune.prompts.render import Renderer
from mathtune.records import (
    Completion,
    Example,
    Problem,
    ProblemSet,
    Prompt,
    StopReason,
)
from mathtune.runs import Run
from mathtune.text.counts import counted

log = logging.getLogger(__name__)


class PromptRenderer(Protocol):
    """What turns questions into a model's prompts: ``Renderer`` or ``TextRenderer``."""

    style: str
    stop: tuple[str, ...]
    shots: tuple[Problem, ...]

    def prompt(self, question: str, problem_id: str = "") -> Prompt:
        """Return the prompt for a question."""
        ...

    def visible(self, prompt: Prompt) -> str:
        """Return a prompt's text to look at."""
        ...


class Evaluable(Protocol):
    """A model that can be evaluated."""

    def engine(self) -> Engine:
        """Return an engine that decodes with the model as it is now."""
        ...

    def renderer(self, *, shots: Sequence[Problem] = ()) -> PromptRenderer:
        """Return the renderer of its prompts, which begin with the solved problems given."""
        ...


@runtime_checkable
class ScoresTokens(Protocol):
    """A model that also returns how likely a text is."""

    def renderer(self, *, shots: Sequence[Problem] = ()) -> Renderer:
        """Return the renderer of its prompts and examples."""
        ...

    def score(self, examples: Sequence[Example]) -> Iterable[Sequence[float]]:
        """Return the log-probability of each token of each example."""
        ...


def settings(config: EvalConfig) -> tuple[bool, ...]:
    """Return the calculator settings to measure, the headline's first.

    Only the engine in this process can insert a result while the model writes.
    """
    if config.decoder != "hf":
        return (False,)
    if not config.other_calculator:
        return (config.calculator,)
    return config.calculator, not config.calculator


def decoding_of(config: EvalConfig, renderer: PromptRenderer, *, calculator: bool) -> Decoding:
    """Return greedy decoding within a recipe's limits."""
    stop = renderer.stop if config.stop is None else tuple(config.stop)
    return Decoding(
        max_new_tokens=config.max_new_tokens,
        stop=stop,
        calculator=calculator,
        stop_repetition=config.stop_repetition and config.decoder == "hf",
    )


def measured_decoding(
    config: EvalConfig, renderer: PromptRenderer, *, calculator: bool, seed: int
) -> Decoding:
    """Return the decoding a recipe measures with: sampled if it sets a temperature."""
    greedy = decoding_of(config, renderer, calculator=calculator)
    greedy = replace(greedy, logprobs=config.logprobs)
    if config.temperature == 0:
        return greedy  # without a seed: greedy runs of two seeds can be compared
    return replace(
        greedy,
        temperature=config.temperature,
        top_p=config.top_p,
        samples=config.samples,
        seed=seed,
        stop_repetition=False,  # a sampled text may still leave its loop
    )


def prediction_files(
    run: Run, label: str, test_sets: Sequence[ProblemSet], config: EvalConfig
) -> Iterator[tuple[ProblemSet, bool, Path]]:
    """Yield each test set and calculator setting that is measured with its predictions file."""
    for test_set in test_sets:
        for calculator in settings(config):
            headline = test_set is test_sets[0] and calculator == config.calculator
            path = run.predictions(label, test_set.label, calculator, headline=headline)
            yield test_set, calculator, path


def measure(
    model: Evaluable,
    label: str,
    test_sets: Sequence[ProblemSet],
    run: Run,
    config: EvalConfig,
    *,
    seed: int,
    shots: Sequence[Problem] = (),
) -> list[dict[str, Any]]:
    """Return a model's ``evaluations`` objects of ``results.json``; rows go to the run folder.

    Args:
        model: The model.
        label: ``base`` or ``tuned``.
        test_sets: The first is the headline.
        run: The run folder.
        config: Decoding and limits.
        seed: Sampling seed.
        shots: Solved problems shown before each question; perplexity is measured without them.
    """
    engine, asking = model.engine(), model.renderer(shots=shots)
    scoring = model if config.perplexity and isinstance(model, ScoresTokens) else None
    for line in _left_out(engine, config, scored=scoring is not None):
        log.info(line)
    paths, base_paths = (
        {
            (test_set.label, calculator): path
            for test_set, calculator, path in prediction_files(run, each, test_sets, config)
        }
        for each in (label, "base")
    )
    summaries = []
    for test_set in test_sets:
        prompts = [asking.prompt(problem.question, problem.id) for problem in test_set.problems]
        evaluations: list[Evaluation] = []
        # With the calculator first: it shows which answers are the same without.
        for calculator in sorted(settings(config), reverse=True):
            decoding = measured_decoding(config, asking, calculator=calculator, seed=seed)
            base = None if label == "base" else base_paths[test_set.label, calculator]
            log.info(
                f"{_where(label, test_set.label, decoding)}: {_work(test_set, decoding, base)}"
            )
            path = paths[test_set.label, calculator]
            reuse = evaluations[0] if evaluations and decoding.temperature == 0 else None
            evaluations.append(
                _evaluate(engine, test_set, prompts, decoding, path, asking.style, label, reuse)
            )
        evaluations.sort(key=lambda evaluation: evaluation.calculator != config.calculator)
        perplexity = None
        if scoring is not None:
            examples = list(map(scoring.renderer().example, test_set.problems))
            log.info(f"{label} on {test_set.label}: perplexity of {len(examples):,} solutions")
            perplexity = saved_perplexity(evaluations[0].path, examples, scoring.score)
        log.info(f"{label} on {test_set.label}: counting, intervals")
        for evaluation in evaluations:
            summaries.append(_summary(evaluation, run, config, perplexity))
    return summaries


def _evaluate(
    engine: Engine,
    test_set: ProblemSet,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    path: Path,
    style: str,
    label: str,
    reuse: Evaluation | None,
) -> Evaluation:
    """Evaluate one test set with one decoding, under a progress bar."""
    total = len(ranks.share(test_set.problems)) * decoding.samples
    with progress.bar(f"{label}: {test_set.label}", total) as bar:
        return evaluate(
            engine,
            test_set,
            prompts,
            decoding,
            path=path,
            style=style,
            model=label,
            on_row=AnswerCount(bar, total, decoding.samples, engine),
            reuse=reuse,
        )


def _summary(
    evaluation: Evaluation, run: Run, config: EvalConfig, perplexity: Perplexity | None
) -> dict[str, Any]:
    """Return an evaluation's figures, report them, and write the pass rates of its problems."""
    summary = evaluation.summary(
        predictions=str(evaluation.path.relative_to(run.folder)),
        perplexity=perplexity,
        confidence=config.confidence,
    )
    if summary["samples"] > 1:
        write_pass_rates(evaluation.path, evaluation.rows, config.confidence)
    where = _where(evaluation.model, evaluation.set, evaluation.decoding)
    log.info(f"{where}: {_percent(summary)} right")
    if stopped := summary["stop_reasons"].get(StopReason.REPETITION.value):
        answers = counted(stopped, "answer")
        log.info(f"{answers} of {len(evaluation.rows):,} stopped for repetition")
    return summary


def _where(label: str, test_set: str, decoding: Decoding) -> str:
    return f"{label} on {test_set}, calculator {'on' if decoding.calculator else 'off'}"


def _left_out(engine: Engine, config: EvalConfig, *, scored: bool) -> Iterator[str]:
    """Yield what the engine cannot measure."""
    if config.decoder != "hf":
        yield f"the {engine.name} engine has no calculator: measured without it"
    if config.perplexity and not scored:
        yield f"the {engine.name} engine computes no perplexity: not measured"


def answer_example(
    model: Evaluable, label: str, config: EvalConfig, *, shots: Sequence[Problem] = ()
) -> list[dict[str, Any]]:
    """Let a model answer the recipe's example problem greedily, in each calculator setting."""
    log.info(f"{label}: answering the example problem")
    engine, renderer = model.engine(), model.renderer(shots=shots)
    prompt = renderer.prompt(config.example, "example")
    answers = []
    for calculator in settings(config):
        completions: list[Completion] = list(
            engine.generate([prompt], decoding_of(config, renderer, calculator=calculator))
        )
        answers.append(
            {"model": label, "calculator": calculator, "completion": completions[0].text}
        )
    return answers


def compare_all(
    run: Run, test_sets: Sequence[ProblemSet], config: EvalConfig
) -> list[dict[str, Any]]:
    """Return the ``comparisons`` objects of ``results.json``, from the predictions files alone."""
    comparisons = []
    pairs = zip(
        prediction_files(run, "base", test_sets, config),
        prediction_files(run, "tuned", test_sets, config),
        strict=True,
    )
    for (test_set, calculator, base), (*_, tuned) in pairs:
        log.info(
            f"comparing base and tuned on {test_set.label}, calculator "
            f"{'on' if calculator else 'off'}"
        )
        comparison = compare(
            read_light_rows(base),
            read_light_rows(tuned),
            labels=("base", "tuned"),
            confidence=config.confidence,
        )
        comparisons.append(comparison.result())
    return comparisons


def _work(test_set: ProblemSet, decoding: Decoding, base: Path | None) -> str:
    samples = f", {decoding.samples} answers each" if decoding.samples > 1 else ""
    seconds = read_timing(base).seconds if base is not None else 0.0
    took = f"; the base took {in_words(seconds)}" if seconds >= SHORT_SECONDS else ""
    return f"answering {counted(len(test_set.problems), 'problem')}{samples}{took}"


def _percent(summary: dict[str, Any]) -> str:
    rate = summary["exact_match"]
    value, low, high = (100 * rate[key] for key in ("value", "low", "high"))
    level = f"{100 * summary['confidence']:g} % interval"
    return f"{value:.1f} % ({level} {low:.1f} to {high:.1f}) of {summary['n']:,}"
