"""The stages of a run, which the pipeline puts in order, and other uses of a recipe.

A finished stage is recorded in the run folder's manifest, and skipped from then on if its inputs
are unchanged. Of several ranks all compute, and the first writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mathtune import problems, prompts, ranks, report, runs
from mathtune.binding import Binding, check_sides
from mathtune.config.schema import FILE_ENDINGS, Recipe, SourceConfig
from mathtune.errors import DataError, RunError
from mathtune.evaluation.compare import predictions_files
from mathtune.evaluation.in_loop import validation_exact_match
from mathtune.evaluation.measure import (
    Evaluable,
    answer_example,
    compare_all,
    measure,
)
from mathtune.evaluation.preview import Preview, preview_set
from mathtune.evaluation.results import Results
from mathtune.learning import rft
from mathtune.learning.objectives import check_teacher, learning_of, pairs_in
from mathtune.models import files as model_files
from mathtune.models.on_workers import RayModel
from mathtune.models.remote import ServedModel, VLLMModel
from mathtune.provenance import command_line
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.run_paths import RunPaths
from mathtune.runs import Run
from mathtune.tracking.setup import log_results

if TYPE_CHECKING:
    from mathtune.planning.plan import TrainingPlan
    from mathtune.training.session import Session

log = logging.getLogger(__name__)

NO_PROBLEMS = ProblemSet("none", ())


def open_run(recipe: Recipe, folder: Path | None) -> Run:
    """Create or reopen the run folder of a recipe."""
    if (how := recipe.train.fsdp) is not None:
        ranks.use_fsdp(how, recipe.train.fsdp_state_dict_type, recipe.train.dp_shard_size)
        if ranks.world_size() == 1:
            log.info(f"train.fsdp={how}: there is one process, which holds everything")
    run = runs.create(folder or runs.default_folder(recipe), recipe, command=command_line())
    log.info(f"run folder: {run.folder}")
    return run


def load_problems(recipe: Recipe) -> Splits:
    """Load, check and split the problems, and report them."""
    splits = problems.load(recipe.data, seed=recipe.seed)
    for line in problems.summary_lines(splits):
        log.info(line)
    return splits


def load_test_problems(recipe: Recipe) -> Splits:
    """Load and check only the test sets, and report them."""
    test_sets = problems.load_tests(recipe.data, seed=recipe.seed)
    for line in problems.read_as_lines(test_sets):
        log.info(line)
    return Splits(NO_PROBLEMS, NO_PROBLEMS, test_sets)


def bind(recipe: Recipe, run: Run, splits: Splits, own: Sequence[str], *, fresh: bool) -> Binding:
    """Check what the run folder holds against the current inputs, and record the problems."""
    results = Results.open(run, recipe.eval, splits.test)
    binding = Binding(run, recipe, splits, load_shots(recipe), results)
    binding.check(own, fresh=fresh)
    run.note(data=problems.describe(splits))
    return binding


def train(binding: Binding) -> None:
    """Train, unless that is done, and record the result."""
    if binding.is_done("train"):
        return
    from mathtune.training.session import Session

    recipe, splits, run = binding.recipe, binding.splits, binding.run
    session = Session.load(recipe, splits.train.problems, run=run, to_train=True)
    gradable = [problem for problem in splits.validation.problems if problem.gold]
    solved = gradable[: recipe.train.exact_match_samples]
    if not solved and recipe.train.metric_for_best_model == "eval_exact_match":
        raise DataError(
            "train.metric_for_best_model=eval_exact_match, and none of the "
            f"{len(splits.validation)} validation problems has a final answer to grade; set "
            "train.metric_for_best_model=eval_loss or give validation problems with answers"
        )

    def exact_match(session: Session, interrupted: Callable[[], bool]) -> float:
        return validation_exact_match(session, solved, recipe.eval, interrupted)

    binding.begin("train")
    learning = learning_of(recipe, splits.train.problems, splits.validation.problems)
    result = session.train(splits, run, exact_match if solved else None, learning)
    run.note(training=asdict(result))
    binding.finish("train")


def training_figures(binding: Binding) -> dict[str, Any]:
    """Return the run folder and the result of training."""
    run = binding.run
    return {"run_dir": str(run.folder), **ranks.from_first(run.manifest)["training"]}


def measure_base(binding: Binding) -> None:
    """Measure the model before training, unless its weights are random."""
    if binding.recipe.model.name_or_path:
        measure_model("base", binding)


def measure_model(label: str, binding: Binding, model: Evaluable | None = None) -> None:
    """Measure a model, unless that is done; keep its figures and its answer to the example.

    Args:
        label: ``base`` or ``tuned``.
        binding: Recipe, problems and run folder.
        model: The model; default: the recipe's, or the trained one after training.
    """
    if binding.is_done(label):
        return
    recipe, splits, run, shots = binding.recipe, binding.splits, binding.run, binding.shots
    if shots:
        run.note(shots={"source": recipe.prompt.shot_source, "ids": [shot.id for shot in shots]})
    model = model or load_model(recipe, label, splits, run)
    binding.begin(label)
    evaluations = measure(
        model, label, splits.test, run, recipe.eval, seed=recipe.seed, shots=shots
    )
    binding.results.add(evaluations, answer_example(model, label, recipe.eval, shots=shots))
    binding.finish(label)


def load_model(recipe: Recipe, label: str, splits: Splits, run: Run) -> Evaluable:
    """Return the model to measure, with the recipe's engine."""
    if recipe.eval.engine == "openai":
        return ServedModel(recipe)
    if recipe.eval.engine in ("vllm", "ray"):
        from mathtune.models.loading import load_tokenizer

        name, revision = recipe.model.name_or_path or "", recipe.model.revision
        tokenizer = load_tokenizer(name, revision, trust=recipe.model.trust_remote_code)
        kind = VLLMModel if recipe.eval.engine == "vllm" else RayModel
        return kind(recipe, tokenizer)
    from mathtune.training.session import Session

    if label == "tuned" and run.is_trained():
        return Session.load_tuned(recipe, run)
    session = Session.load(recipe, run=run)
    session.check(splits)  # find what would stop training before hours of measuring
    if splits.train.problems:
        check_teacher(recipe, session.tokenizer)
    return session


def model_in_memory(recipe: Recipe, model: Any, tokenizer: Any) -> Session:
    """Wrap a loaded Transformers model so that it can be measured and asked."""
    from mathtune.models.in_memory import compute_of
    from mathtune.training.session import Session

    return Session(recipe, model, tokenizer, compute_of(model))


def compare(binding: Binding) -> None:
    """Compare base and tuned model, if there was a base."""
    recipe = binding.recipe
    if recipe.model.name_or_path and ranks.is_first():
        compared = compare_all(binding.run, binding.splits.test, recipe.eval)
        binding.results.add_comparisons(compared)


def write_report(binding: Binding) -> None:
    """Write report and model card, and send the results to the trackers."""
    if ranks.is_first():
        report.write(binding.run.folder)
        log_results(binding.recipe, binding.run.folder)


def files_to_compare(paths: Sequence[Path]) -> list[Path]:
    """Return the files of saved outputs that the paths name, checked against their inputs.

    Raises:
        ConfigError: If the paths do not name two files.
        RunError: If the inputs of a run folder have changed since.
    """
    files = predictions_files(paths)
    for folder in dict.fromkeys(path.absolute().parent.parent for path in files):
        if RunPaths(folder).recipe.exists() and RunPaths(folder).all_predictions.exists():
            verify(folder)
    check_sides(files)
    return files


def verify(folder: Path) -> None:
    """Refuse to show a run folder's results if its inputs are here and have changed.

    Inputs no longer on this machine are not checked, and this is reported.
    """
    if not RunPaths(folder).recipe.is_file():
        return
    try:
        run, recipe = Run(folder), runs.stored_recipe(RunPaths(folder).recipe)
    except RunError as error:
        log.info(f"the results are not checked against their inputs: {error}")
        return
    splits, shots = Splits(NO_PROBLEMS, NO_PROBLEMS, ()), tuple[Problem, ...]()
    drawn = recipe.prompt.shots > 0 and recipe.prompt.shot_source == prompts.TRAIN
    trains, why = run.inputs("train").is_file(), "they are not on this machine"
    try:
        if here := problems.load_local(recipe.data, seed=recipe.seed, trains=trains or drawn):
            splits, shots, why = rft.trained_on(recipe, run, here), load_shots(recipe), ""
    except DataError as error:
        why = error.faults[0]
    if why:
        log.info(f"the results are not checked against their problems: {why}")
    Binding(run, recipe, splits, shots, Results.look(run), writes=False).verify()


def preview(recipe: Recipe) -> list[Preview]:
    """Return the prompts for each test set; at most the model's tokenizer is loaded."""
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
    nodes: int = 1,
    network: float | None = None,
    changed: Callable[[Sequence[str]], Recipe],
    trace: bool = False,
) -> TrainingPlan:
    """Return what training a recipe will take, from configurations and the data here."""
    measured = " and measuring this machine" if device is None and memory is None else ""
    log.info("loading PyTorch%s", measured)
    from mathtune.planning.devices import find_device
    from mathtune.planning.plan import make_plan

    found = find_device(device, memory)
    here, elsewhere = problems.local_training(recipe.data, seed=recipe.seed)
    return make_plan(
        recipe,
        here,
        elsewhere,
        found,
        memory or found.memory,
        devices=devices,
        nodes=nodes,
        network=network,
        changed=changed,
        say=log.info,
        trace=trace,
        pairs=pairs_in(recipe, here),
    )


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
