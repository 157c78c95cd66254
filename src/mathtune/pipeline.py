"""The story: problems → base measured → training → tuned measured → comparison → report.

Wiring only. Every stage is noted in the run folder's manifest when it is done, so the same command
after an interruption goes on where it stopped; what a stage was made of is checked before its
output is taken over. Of several ranks all compute, and the first writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mathtune import model_files, problems, prompts, ranks, report, runs
from mathtune.config.schema import FILE_ENDINGS, Recipe, SourceConfig
from mathtune.errors import DataError
from mathtune.evaluation.asked import ServedModel, VLLMModel
from mathtune.evaluation.binding import STAGES, Binding
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
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.runs import Run
from mathtune.training.trackers import log_results

if TYPE_CHECKING:
    from mathtune.training.plan import Plan


NO_PROBLEMS = ProblemSet("none", ())


def open_run(recipe: Recipe, folder: Path | None) -> Run:
    """Make or reopen the run folder of a recipe."""
    return runs.create(folder or runs.default_folder(recipe), recipe, command=runs.command_line())


def run(
    recipe: Recipe, folder: Path | None, console: Console, *, fresh: bool = False
) -> dict[str, Any]:
    """Do everything a recipe asks for; return the headline figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe, console)
        binding = bind(recipe, run, splits, STAGES, console, fresh=fresh)
        if recipe.model.name_or_path and not binding.is_done("base"):  # random weights are no base
            measure_stage("base", binding, console)
        if not binding.is_done("train"):
            train_stage(binding, console)
        if not binding.is_done("tuned"):
            measure_stage("tuned", binding, console)
        if ranks.is_first():
            if recipe.model.name_or_path:
                compared = compare_all(run, splits.test, recipe.eval, seed=recipe.seed)
                binding.results.add_comparisons(compared)
            report.write(run.folder)
            log_results(recipe, run.folder, console)
        return binding.results.headline()


def train(
    recipe: Recipe, folder: Path | None, console: Console, *, fresh: bool = False
) -> dict[str, Any]:
    """Train only; return the run folder and the training figures."""
    with open_run(recipe, folder) as run:
        splits = load_problems(recipe, console)
        binding = bind(recipe, run, splits, ("train",), console, fresh=fresh)
        if not binding.is_done("train"):
            train_stage(binding, console)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder, console)
        return {"run_dir": str(run.folder), **ranks.from_first(run.manifest)["training"]}


def evaluate(
    recipe: Recipe, label: str, folder: Path | None, console: Console, *, fresh: bool = False
) -> dict[str, Any]:
    """Measure the recipe's model on its test sets only; return the headline figures."""
    with open_run(recipe, folder) as run:
        splits = Splits(
            NO_PROBLEMS, NO_PROBLEMS, problems.load_tests(recipe.data, seed=recipe.seed)
        )
        binding = bind(recipe, run, splits, (label,), console, fresh=fresh)
        if not binding.is_done(label):
            measure_stage(label, binding, console)
        if ranks.is_first():
            report.write(run.folder)
            log_results(recipe, run.folder, console)
        return binding.results.headline()


def verify(folder: Path, console: Console) -> None:
    """Refuse to show the results of a run folder of which the inputs are here and have changed.

    What is not on this machine any more is not checked, and said.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    run, recipe = Run(folder), runs.stored_recipe(folder / "recipe.yaml")
    splits, shots = Splits(NO_PROBLEMS, NO_PROBLEMS, ()), tuple[Problem, ...]()
    trains, why = run.inputs("train").is_file(), "they are not on this machine"
    try:
        if here := problems.load_local(recipe.data, seed=recipe.seed, trains=trains):
            splits, shots, why = here, load_shots(recipe), ""
    except DataError as error:
        why = error.faults[0]
    if why:
        console.print(f"the results are not checked against their problems: {why}")
    Binding(run, recipe, splits, shots, Results.look(run), console.print, writes=False).verify()


def preview(recipe: Recipe) -> list[Preview]:
    """Return what a model would be asked on each test set; at most its tokenizer is loaded."""
    renderer: prompts.Renderer | prompts.TextRenderer
    style, system, shots = recipe.prompt.style, recipe.prompt.system, load_shots(recipe)
    if recipe.eval.engine == "openai":
        renderer, context = prompts.TextRenderer(style, system=system, shots=shots), None
    else:
        from mathtune.training.model import load_tokenizer

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
    console: Console,
) -> Plan:
    """Return what training a recipe will take, from configurations and what data are here."""
    from mathtune.training.plan import find_device, make_plan

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
        say=console.print,
    )


def merge(recipe: Recipe, output: Path, dtype: str, console: Console) -> dict[str, Any]:
    """Merge the adapter that the recipe names into its base, checked on the first test set."""
    from mathtune.training.merge import check_output, merge_adapter
    from mathtune.training.model import load_tokenizer

    check_output(output)
    adapter = Path(recipe.model.name_or_path or "")
    test_set = problems.load_tests(recipe.data, seed=recipe.seed)[0]
    renderer = prompts.Renderer(
        load_tokenizer(str(adapter)), recipe.prompt.style, system=recipe.prompt.system
    )
    asked = [renderer.prompt(problem.question, problem.id) for problem in test_set.problems]
    decoding = decoding_of(recipe.eval, renderer, calculator=False)
    return asdict(merge_adapter(recipe.model, output, asked, decoding, console, dtype))


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


def load_problems(recipe: Recipe, console: Console) -> Splits:
    """Load, check and split the problems, and say what they are."""
    splits = problems.load(recipe.data, seed=recipe.seed)
    for line in problems.summary_lines(splits):
        console.print(line)
    return splits


def bind(
    recipe: Recipe, run: Run, splits: Splits, own: Sequence[str], console: Console, *, fresh: bool
) -> Binding:
    """Check what the run folder holds against today's inputs, and note what the problems are."""
    results = Results.open(run, recipe.eval, splits.test)
    binding = Binding(run, recipe, splits, load_shots(recipe), results, console.print)
    binding.check(own, fresh=fresh)
    run.note(data=problems.describe(splits))
    return binding


def train_stage(binding: Binding, console: Console) -> None:
    """Train and note what came out."""
    from mathtune.training.student import Student

    recipe, splits, run = binding.recipe, binding.splits, binding.run
    student = Student.load(recipe, console, splits.train.problems, run=run)
    judged = splits.validation.problems[: recipe.train.exact_match_samples]

    def exact_match(student: Student, interrupted: Callable[[], bool]) -> float:
        return validation_exact_match(student, judged, recipe.eval, interrupted)

    binding.begin("train")
    result = student.train(splits, run, exact_match if judged else None)
    run.note(training=asdict(result))
    binding.finish("train")


def measure_stage(label: str, binding: Binding, console: Console) -> None:
    """Measure the base or the tuned model and keep its figures and its answer to the example."""
    recipe, splits, run, shots = binding.recipe, binding.splits, binding.run, binding.shots
    if shots:
        run.note(shots={"source": recipe.prompt.shot_source, "ids": [shot.id for shot in shots]})
    model = load_model(recipe, label, splits, run, console)
    binding.begin(label)
    evaluations = measure(
        model, label, splits.test, run, recipe.eval, console, seed=recipe.seed, shots=shots
    )
    binding.results.add(evaluations, answer_example(model, label, recipe.eval, shots=shots))
    binding.finish(label)


def load_model(
    recipe: Recipe, label: str, splits: Splits, run: Run, console: Console
) -> Measurable:
    """Return the model to measure, with the engine that the recipe names."""
    if recipe.eval.engine == "openai":
        return ServedModel(recipe)
    if recipe.eval.engine == "vllm":
        from mathtune.training.model import load_tokenizer

        name, revision = recipe.model.name_or_path or "", recipe.model.revision
        return VLLMModel(recipe, load_tokenizer(name, revision))
    from mathtune.training.student import Student

    student: Measurable
    if label == "tuned" and run.is_trained():
        student = Student.load_tuned(recipe, run, console)
    else:
        base = Student.load(recipe, console, run=run)
        base.check(splits)  # what would stop training, before hours of measuring
        student = base
    return student
