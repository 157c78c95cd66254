"""The story: problems → base measured → training → tuned measured → comparison → report.

Wiring only. Every stage is noted in the run folder's manifest when it is done, so the same command
after an interruption goes on where it stopped; what a stage was made of is checked before its
output is taken over. Of several ranks all compute, and the first writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mathtune import problems, prompts, ranks, report, runs
from mathtune.binding import STAGES, Binding
from mathtune.config.schema import FILE_ENDINGS, Recipe, SourceConfig
from mathtune.errors import DataError, RunError
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


NO_PROBLEMS = ProblemSet("none", ())


def open_run(recipe: Recipe, folder: Path | None) -> Run:
    """Make or reopen the run folder of a recipe."""
    return runs.create(folder or runs.default_folder(recipe), recipe, command=runs.command_line())


def run(recipe: Recipe, folder: Path | None, *, fresh: bool = False) -> dict[str, Any]:
    """Do everything a recipe asks for; return the headline figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe)
        binding = bind(recipe, run, splits, STAGES, fresh=fresh)
        if recipe.model.name_or_path and not binding.is_done("base"):  # random weights are no base
            measure_stage("base", binding)
        if not binding.is_done("train"):
            train_stage(binding)
        if not binding.is_done("tuned"):
            measure_stage("tuned", binding)
        if ranks.is_first():
            if recipe.model.name_or_path:
                compared = compare_all(run, splits.test, recipe.eval)
                binding.results.add_comparisons(compared)
            report.write(run.folder)
            log_results(recipe, run.folder)
        return binding.results.headline()


def train(recipe: Recipe, folder: Path | None, *, fresh: bool = False) -> dict[str, Any]:
    """Train only; return the run folder and the training figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe)
        binding = bind(recipe, run, splits, ("train",), fresh=fresh)
        if not binding.is_done("train"):
            train_stage(binding)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder)
        return {"run_dir": str(run.folder), **ranks.from_first(run.manifest)["training"]}


def evaluate(
    recipe: Recipe, label: str, folder: Path | None, *, fresh: bool = False
) -> dict[str, Any]:
    """Measure the recipe's model on its test sets only; return the headline figures."""
    with open_run(recipe, folder) as run:
        test_sets = problems.load_tests(recipe.data, seed=recipe.seed)
        for line in problems.read_as_lines(test_sets):
            log.info(line)
        splits = Splits(NO_PROBLEMS, NO_PROBLEMS, test_sets)
        binding = bind(recipe, run, splits, (label,), fresh=fresh)
        if not binding.is_done(label):
            measure_stage(label, binding)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder)
        return binding.results.headline()


def verify(folder: Path) -> None:
    """Refuse to show the results of a run folder of which the inputs are here and have changed.

    What is not on this machine any more is not checked, and said.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    try:
        run, recipe = Run(folder), runs.stored_recipe(folder / "recipe.yaml")
    except RunError as error:
        log.info(f"the results are not checked against their inputs: {error}")
        return
    splits, shots = Splits(NO_PROBLEMS, NO_PROBLEMS, ()), tuple[Problem, ...]()
    drawn = recipe.prompt.shots > 0 and recipe.prompt.shot_source == prompts.TRAIN
    trains, why = run.inputs("train").is_file(), "they are not on this machine"
    try:
        if here := problems.load_local(recipe.data, seed=recipe.seed, trains=trains or drawn):
            splits, shots, why = here, load_shots(recipe), ""
    except DataError as error:
        why = error.faults[0]
    if why:
        log.info(f"the results are not checked against their problems: {why}")
    Binding(run, recipe, splits, shots, Results.look(run), writes=False).verify()


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
    trace: bool = False,
) -> Plan:
    """Return what training a recipe will take, from configurations and what data are here."""
    measured = " and measuring this machine" if device is None and memory is None else ""
    log.info("loading PyTorch%s", measured)
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
        trace=trace,
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


def load_problems(recipe: Recipe) -> Splits:
    """Load, check and split the problems, and say what they are."""
    splits = problems.load(recipe.data, seed=recipe.seed)
    for line in problems.summary_lines(splits):
        log.info(line)
    return splits


def bind(recipe: Recipe, run: Run, splits: Splits, own: Sequence[str], *, fresh: bool) -> Binding:
    """Check what the run folder holds against today's inputs, and note what the problems are."""
    results = Results.open(run, recipe.eval, splits.test)
    binding = Binding(run, recipe, splits, load_shots(recipe), results)
    binding.check(own, fresh=fresh)
    run.note(data=problems.describe(splits))
    return binding


def train_stage(binding: Binding) -> None:
    """Train and note what came out."""
    from mathtune.training.session import Student

    recipe, splits, run = binding.recipe, binding.splits, binding.run
    student = Student.load(recipe, splits.train.problems, run=run)
    gradable = [problem for problem in splits.validation.problems if problem.gold]
    judged = gradable[: recipe.train.exact_match_samples]

    def exact_match(student: Student, interrupted: Callable[[], bool]) -> float:
        return validation_exact_match(student, judged, recipe.eval, interrupted)

    binding.begin("train")
    result = student.train(splits, run, exact_match if judged else None)
    run.note(training=asdict(result))
    binding.finish("train")


def measure_stage(label: str, binding: Binding) -> None:
    """Measure the base or the tuned model and keep its figures and its answer to the example."""
    recipe, splits, run, shots = binding.recipe, binding.splits, binding.run, binding.shots
    if shots:
        run.note(shots={"source": recipe.prompt.shot_source, "ids": [shot.id for shot in shots]})
    model = load_model(recipe, label, splits, run)
    binding.begin(label)
    evaluations = measure(
        model, label, splits.test, run, recipe.eval, seed=recipe.seed, shots=shots
    )
    binding.results.add(evaluations, answer_example(model, label, recipe.eval, shots=shots))
    binding.finish(label)


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
        base = Student.load(recipe, run=run)
        base.check(splits)  # what would stop training, before hours of measuring
        student = base
    return student
