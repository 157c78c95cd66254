"""Puts a training loop together from a recipe, a model and examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import enable_full_determinism, set_seed
from transformers.trainer_utils import align_special_tokens

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.models.base_fingerprint import note_base
from mathtune.models.compute import Compute
from mathtune.records import Example
from mathtune.training.accelerator import make_accelerator
from mathtune.training.arguments import training_arguments
from mathtune.training.callbacks import Recorder, TrainingProgress
from mathtune.training.checkpointing.checkpoint import Checkpointer
from mathtune.training.checkpointing.schedule import StopOnSignal
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.kernels import prepare_layers
from mathtune.training.loop import TrainingLoop
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.nonfinite import NonFiniteSteps
from mathtune.training.objective import SupervisedFineTuning
from mathtune.training.optimizers import make_optimizer, make_scheduler
from mathtune.training.step_source import ShuffledExamples
from mathtune.training.validation import Validation

log = logging.getLogger(__name__)


def make_loop(
    recipe: Recipe,
    *,
    model: Any,
    tokenizer: Any,
    compute: Compute,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    checkpoint: Path | None,
    fitting: FittingLimits,
    stop: StopOnSignal,
    exact_match: Callable[[], float] | None,
    recorders: Sequence[Recorder],
    progress: TrainingProgress,
    run_dir: Path,
) -> TrainingLoop[Example]:
    """Put a training loop together, at its first step or where a checkpoint left it."""
    settings, saved = recipe.train, TrainingState.load(checkpoint) if checkpoint else None
    seeded = enable_full_determinism if settings.full_determinism else set_seed
    seeded(recipe.seed)
    per_step = _examples_per_step(recipe, saved)
    source = ShuffledExamples(train_examples, per_step, recipe.seed)
    steps = settings.max_steps
    if steps < 0:
        steps = math.ceil(settings.num_train_epochs * source.steps_per_epoch)

    arguments = training_arguments(recipe, compute, run_dir)
    accelerator = make_accelerator(arguments)
    prepare_layers(recipe, model)
    align_special_tokens(model, tokenizer)  # what is saved generates as it was trained
    ratio = recipe.adapter.loraplus_lr_ratio if recipe.adapter else None
    prepared, optimizer = accelerator.prepare(model, make_optimizer(model, arguments, ratio))
    scheduler = make_scheduler(optimizer, arguments, steps)
    checkpointer = Checkpointer(
        run_dir / "checkpoints", accelerator, prepared, tokenizer, optimizer, scheduler,
        keep=settings.save_total_limit, on_save=_on_save(recipe, compute),
    )  # fmt: skip
    nonfinite = NonFiniteSteps(skip=settings.non_finite == "skip")
    state = saved or TrainingState(max_steps=steps, examples_per_step=per_step)
    if checkpoint:
        state.max_steps = steps
        source.restore(state.source)
        nonfinite.restore(state.nonfinite)
        checkpointer.restore(checkpoint)
        log.info(f"continuing from {checkpoint.name}")
    return TrainingLoop(
        settings, accelerator, prepared, optimizer, scheduler,
        objective=SupervisedFineTuning(settings.label_smoothing_factor),
        source=source,
        validate=Validation(
            prepared, accelerator, validation_examples, fitting, exact_match
        ),
        checkpointer=checkpointer, state=state, fitting=fitting, nonfinite=nonfinite, stop=stop,
        recorders=recorders, progress=progress,
    )  # fmt: skip


def _on_save(recipe: Recipe, compute: Compute) -> Callable[[Path], None] | None:
    """Return what writes beside an adapter which base it belongs to."""
    if recipe.adapter is None:
        return None
    dtype = str(compute.dtype).removeprefix("torch.")
    return partial(note_base, config=recipe.model, dtype=dtype)


def _examples_per_step(recipe: Recipe, saved: TrainingState | None) -> int:
    """Return how many examples make a step; a run that is continued keeps its steps."""
    train, count = recipe.train, ranks.world_size()
    asked = train.per_device_train_batch_size * train.gradient_accumulation_steps * count
    if saved is None:
        return asked
    kept = saved.examples_per_step
    if kept != asked:
        log.info(
            f"{count} process{'es' if count > 1 else ''} would make steps of {asked} problems; "
            f"the run goes on with its steps of {kept}"
        )
    return kept
