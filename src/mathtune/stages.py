"""The stages of a run, which the pipeline puts in order, and what else is done with a recipe.

A stage is noted in the run folder's manifest when it is done and skipped from then on. Of several
ranks all compute, and the first writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mathtune import problems, prompts, ranks, report, runs
from mathtune.config.schema import FILE_ENDINGS, Recipe, SourceConfig
from mathtune.evaluation.in_loop import validation_exact_match
from mathtune.evaluation.measure import (
    Measurable,
    answer_example,
    compare_all,
    decoding_of,
    measure,
)
from mathtune.evaluation.preview import Preview, preview_set
from mathtune.evaluation.results import Results
from mathtune.models import files as model_files
from mathtune.models.remote import ServedModel, VLLMModel
from mathtune.records import Completion, Problem, ProblemSet, Splits
from mathtune.runs import Run
from mathtune.tracking.setup import log_results

if TYPE_CHECKING:
    from mathtune.planning.plan import Plan

log = logging.getLogger(__name__)


def open_run(recipe: Recipe, folder: Path | None) -> Run:
    """Make or reopen the run folder of a recipe."""
    run = runs.create(folder or runs.default_folder(recipe), recipe, command=runs.command_line())
    log.info(f"run folder: {run.folder}")
    for change in run.changes:
        log.info(
            f"going on with {change.key}={change.after_in_words} (before: {change.before_in_words})"
        )
    return run


def preview(recipe: Recipe) -> list[Preview]:
    """Return what a model would be asked on each test set; at most its tokenizer is loaded."""
    renderer: prompts.Renderer | prompts.TextRenderer
    style, system, shots = recipe.prompt.style, recipe.prompt.system, load_shots(recipe)
    if recipe.eval.engine == "openai":
        renderer, context = prompts.TextRenderer(style, system=system, shots=shots), None
    else:
        from mathtune.models.loading import load_tokenizer

        name, revision = recipe.model.name_or_path or "", recipe.model.revision
        tokenizer = load_tokenizer(name, revision, trust=recipe.model.trust_remote_code)
        renderer = prompts.Renderer(tokenizer, style, system=system, shots=shots)
        context = model_files.context_length(model_files.read_config(name, revision) or {})
    return [
        preview_set(renderer, test_set, recipe.eval, context=context, seed=recipe.seed)
        for test_set in problems.load_tests(recipe.data, seed=recipe.seed)
    ]


def plan(
    recipe: Recipe,
    *,
    device: str | None,
    memory: int | None,
    devices: int,
    changed: Callable[[Sequence[str]], Recipe],
) -> Plan:
    """Return what training a recipe will take, from configurations and what data are here."""
    from mathtune.planning.plan import find_device, make_plan

    found = find_device(device, memory)
    here, elsewhere = problems.local_training(recipe.data, seed=recipe.seed)
    return make_plan(
        recipe,
        here,
        elsewhere,
        found,
        memory or found.memory,
        devices=devices,
        changed=changed,
        say=log.info,
    )


def merge(recipe: Recipe, output: Path, dtype: str) -> dict[str, Any]:
    """Merge the adapter that the recipe names into its base, checked on the first test set."""
    from mathtune.models.loading import load_tokenizer
    from mathtune.models.merge import check_output, merge_adapter

    check_output(output)
    adapter = Path(recipe.model.name_or_path or "")
    test_set = problems.load_tests(recipe.data, seed=recipe.seed)[0]
    renderer = prompts.Renderer(
        load_tokenizer(str(adapter)), recipe.prompt.style, system=recipe.prompt.system
    )
    asked = [renderer.prompt(problem.question, problem.id) for problem in test_set.problems]
    decoding = decoding_of(recipe.eval, renderer, calculator=False)
    return asdict(merge_adapter(recipe.model, output, asked, decoding, dtype))


def load_shots(recipe: Recipe) -> tuple[Problem, ...]:
    """Return the solved problems shown before each question, none of them a test problem."""
    k, source = recipe.prompt.shots, recipe.prompt.shot_source
    if k == 0:
        return ()
    if source == prompts.TRAIN:
        return problems.draw_shots(recipe.data, k, seed=recipe.seed)
    if source.endswith(FILE_ENDINGS):
        shots = problems.file_shots(SourceConfig(path=source), k)
    else:
        shots = prompts.named_shots(source, k)
    problems.check_shots(shots, recipe.data, seed=recipe.seed)
    return shots


def load_problems(recipe: Recipe, run: Run) -> Splits:
    """Load, check and split the problems, and note what they were."""
    return _noted(problems.load(recipe.data, seed=recipe.seed), run)


def load_test_problems(recipe: Recipe, run: Run) -> Splits:
    """Load and check the test sets alone, and note what they were."""
    empty = ProblemSet("none", ())
    return _noted(Splits(empty, empty, problems.load_tests(recipe.data, seed=recipe.seed)), run)


def _noted(splits: Splits, run: Run) -> Splits:
    run.note(data=problems.describe(splits))
    for line in problems.summary_lines(splits):
        log.info(line)
    return splits


def train(recipe: Recipe, splits: Splits, run: Run) -> None:
    """Train, unless that was done, and note what came out."""
    if run.is_trained():
        return
    from mathtune.training.session import Student

    student = Student.load(recipe, splits.train.problems)
    judged = splits.validation.problems[: recipe.train.exact_match_samples]

    def exact_match(student: Student, interrupted: Callable[[], bool]) -> float:
        return validation_exact_match(student, judged, recipe.eval, interrupted)

    result = student.train(splits, run, exact_match if judged else None)
    run.note(training=asdict(result))
    run.finish_stage("train")


def training_figures(run: Run) -> dict[str, Any]:
    """Return the run folder and what came out of training."""
    return {"run_dir": str(run.folder), **ranks.from_first(run.manifest)["training"]}


def measure_base(recipe: Recipe, splits: Splits, run: Run, results: Results) -> None:
    """Measure the model before training; random weights are no base."""
    if recipe.model.name_or_path:
        measure_model(recipe, "base", splits, run, results)


def measure_model(
    recipe: Recipe,
    label: str,
    splits: Splits,
    run: Run,
    results: Results,
    model: Measurable | None = None,
) -> None:
    """Measure a model, unless that was done; keep its figures and its answer to the example.

    Args:
        recipe: How to measure.
        label: ``base`` or ``tuned``.
        splits: The test sets in it are measured; the others show whether training will work.
        run: The run folder.
        results: Where the figures are kept.
        model: The model; default: the recipe's, or after training what came of it.
    """
    if results.has(label):
        return
    shots = load_shots(recipe)
    if shots:
        run.note(shots={"source": recipe.prompt.shot_source, "ids": [shot.id for shot in shots]})
    model = model or load_model(recipe, label, splits, run)
    evaluations = measure(
        model, label, splits.test, run, recipe.eval, seed=recipe.seed, shots=shots
    )
    results.add(evaluations, answer_example(model, label, recipe.eval, shots=shots))
    run.finish_stage(label)


def load_model(recipe: Recipe, label: str, splits: Splits, run: Run) -> Measurable:
    """Return the model to measure, with the engine that the recipe names."""
    if recipe.eval.engine == "openai":
        return ServedModel(recipe)
    if recipe.eval.engine == "vllm":
        from mathtune.models.loading import load_tokenizer

        name, revision = recipe.model.name_or_path or "", recipe.model.revision
        return VLLMModel(recipe, load_tokenizer(name, revision))
    from mathtune.training.session import Student

    student: Measurable
    if label == "tuned" and run.is_trained():
        student = Student.load_tuned(recipe, run)
    else:
        base = Student.load(recipe)
        base.check(splits)  # what would stop training, before hours of measuring
        student = base
    return student


def model_in_memory(recipe: Recipe, model: Any, tokenizer: Any) -> Measurable:
    """Return a loaded Transformers model as one that can be measured and asked."""
    from mathtune.models.in_memory import compute_of
    from mathtune.training.session import Student

    return Student(recipe, model, tokenizer, compute_of(model))


def compare(recipe: Recipe, splits: Splits, run: Run, results: Results) -> None:
    """Compare base and tuned model, where there was a base."""
    if recipe.model.name_or_path and ranks.is_first():
        compared = compare_all(run, splits.test, recipe.eval, seed=recipe.seed)
        results.add_comparisons(compared)


def write_report(recipe: Recipe, run: Run) -> None:
    """Write report and model card, and give the trackers the results."""
    if ranks.is_first():
        report.write(run.folder)
        log_results(recipe, run.folder)


def open_chat(
    recipe: Recipe, *, calculator: bool, model: Measurable | None = None
) -> Callable[[str], Completion]:
    """Load the recipe's model, unless one is given; return what answers a question greedily.

    Each question stands for itself, prompted exactly as in training and evaluation.
    """
    if model is None:
        from mathtune.training.session import Student

        model = Student.load(recipe)
    engine, renderer = model.engine(), model.renderer(shots=load_shots(recipe))
    decoding = decoding_of(recipe.eval, renderer, calculator=calculator)

    def answer(question: str) -> Completion:
        completions = engine.generate([renderer.prompt(question, "chat")], decoding)
        return next(iter(completions))

    return answer
