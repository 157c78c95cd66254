"""The story: problems → base measured → training → tuned measured → comparison → report.

Wiring only. Every stage is noted in the run folder's manifest when it is done, so the same command
after an interruption goes on where it stopped. Of several ranks all compute, and the first writes.
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
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.runs import Run
from mathtune.tracking.setup import log_results

if TYPE_CHECKING:
    from mathtune.planning.plan import Plan

log = logging.getLogger(__name__)


def open_run(recipe: Recipe, folder: Path | None) -> Run:
    """Make or reopen the run folder of a recipe."""
    run = runs.create(folder or runs.default_folder(recipe), recipe, command=runs.command_line())
    for change in run.changes:
        log.info(
            f"going on with {change.key}={change.after_in_words} (before: {change.before_in_words})"
        )
    return run


def run(recipe: Recipe, folder: Path | None) -> dict[str, Any]:
    """Do everything a recipe asks for; return the headline figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe, run)
        results = Results.open(run, recipe.eval, splits.test)
        if recipe.model.name_or_path and not results.has("base"):  # random weights are no base
            measure_stage(recipe, "base", splits, run, results)
        if not run.is_trained():
            train_stage(recipe, splits, run)
        if not results.has("tuned"):
            measure_stage(recipe, "tuned", splits, run, results)
        if ranks.is_first():
            if recipe.model.name_or_path:
                compared = compare_all(run, splits.test, recipe.eval, seed=recipe.seed)
                results.add_comparisons(compared)
            report.write(run.folder)
            log_results(recipe, run.folder)
        return results.headline()


def train(recipe: Recipe, folder: Path | None) -> dict[str, Any]:
    """Train only; return the run folder and the training figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe, run)
        if not run.is_trained():
            train_stage(recipe, splits, run)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder)
        return {"run_dir": str(run.folder), **ranks.from_first(run.manifest)["training"]}


def evaluate(recipe: Recipe, label: str, folder: Path | None) -> dict[str, Any]:
    """Measure the recipe's model on its test sets only; return the headline figures."""
    with open_run(recipe, folder) as run:
        test_sets = problems.load_tests(recipe.data, seed=recipe.seed)
        empty = ProblemSet("none", ())
        splits = Splits(empty, empty, test_sets)
        run.note(data=problems.describe(splits))
        for line in problems.read_as_lines(test_sets):
            log.info(line)
        results = Results.open(run, recipe.eval, test_sets)
        if not results.has(label):
            measure_stage(recipe, label, splits, run, results)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder)
        return results.headline()


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
    splits = problems.load(recipe.data, seed=recipe.seed)
    facts = problems.describe(splits)
    run.note(data=facts)
    for line in problems.summary_lines(splits):
        log.info(line)
    return splits


def train_stage(recipe: Recipe, splits: Splits, run: Run) -> None:
    """Train and note what came out."""
    from mathtune.training.session import Student

    student = Student.load(recipe, splits.train.problems)
    gradable = [problem for problem in splits.validation.problems if problem.gold]
    judged = gradable[: recipe.train.exact_match_samples]

    def exact_match(student: Student, interrupted: Callable[[], bool]) -> float:
        return validation_exact_match(student, judged, recipe.eval, interrupted)

    result = student.train(splits, run, exact_match if judged else None)
    run.note(training=asdict(result))
    run.finish_stage("train")


def measure_stage(recipe: Recipe, label: str, splits: Splits, run: Run, results: Results) -> None:
    """Measure the base or the tuned model and keep its figures and its answer to the example."""
    shots = load_shots(recipe)
    if shots:
        run.note(shots={"source": recipe.prompt.shot_source, "ids": [shot.id for shot in shots]})
    model = load_model(recipe, label, splits, run)
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
