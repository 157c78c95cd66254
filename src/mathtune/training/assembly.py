"""Puts a training loop together from a recipe, a model and examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule
from transformers import TrainingArguments, enable_full_determinism, set_seed
from transformers.trainer_utils import align_special_tokens

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.models.base_fingerprint import note_base
from mathtune.models.compute import Compute
from mathtune.records import Example
from mathtune.run_paths import RunPaths
from mathtune.text.counts import counted
from mathtune.training.accelerator import prepare, reshard
from mathtune.training.batching.micro_batches import Item
from mathtune.training.callbacks import Recorder, RunFigures, TrainingProgress
from mathtune.training.checkpointing.checkpoint import Checkpointer
from mathtune.training.checkpointing.schedule import StopOnSignal
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.kernels import prepare_layers
from mathtune.training.loop import TrainingLoop
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.nonfinite import NonFiniteSteps
from mathtune.training.objective import Learning, Objective, Start, SupervisedFineTuning
from mathtune.training.optimizers import make_optimizer, make_scheduler
from mathtune.training.step_source import ShuffledExamples, StepSource
from mathtune.training.validation import Validation

log = logging.getLogger(__name__)


def first_state(
    recipe: Recipe, examples: int, checkpoint: Path | None, steps_per_batch: int = 1
) -> TrainingState:
    """Return where training starts: at its first step, or where a checkpoint left off.

    A resumed run keeps the size of its steps, even with another number of processes.

    Args:
        recipe: The recipe.
        examples: Size of the training set.
        checkpoint: The checkpoint to continue from.
        steps_per_batch: How many steps each batch of examples is used for.
    """
    settings, count = recipe.train, ranks.world_size()
    per_step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * count
    saved = TrainingState.load(checkpoint) if checkpoint else None
    if saved and saved.examples_per_step != per_step:
        log.info(
            f"{counted(count, 'process', 'processes')} would make steps of {per_step} problems; "
            f"the run continues with steps of {saved.examples_per_step}"
        )
        per_step = saved.examples_per_step
    steps = settings.max_steps
    if steps < 0:
        per_epoch = math.ceil(examples / per_step) * steps_per_batch
        steps = math.ceil(settings.num_train_epochs * per_epoch)
    state = saved or TrainingState(max_steps=steps, examples_per_step=per_step)
    state.max_steps = steps
    return state


def what_is_learned(
    recipe: Recipe, examples: Sequence[Example], learning: Learning | None, start: Start
) -> tuple[Objective[Any], StepSource[Any]]:
    """Return the objective and where its examples come from: supervised unless ``learning``."""
    if learning is not None:
        return learning.start(start)
    return (
        SupervisedFineTuning(recipe.train.label_smoothing_factor),
        ShuffledExamples(examples, start.state.examples_per_step, recipe.seed),
    )


def make_loop(
    recipe: Recipe,
    arguments: TrainingArguments,
    accelerator: Accelerator,
    *,
    model: Any,
    tokenizer: Any,
    compute: Compute,
    objective: Objective[Item],
    source: StepSource[Item],
    state: TrainingState,
    checkpoint: Path | None,
    validation_examples: Sequence[Example],
    exact_match: Callable[[], float] | None,
    fitting: FittingLimits,
    stop: StopOnSignal,
    recorders: Sequence[Recorder],
    progress: TrainingProgress,
    run_dir: Path,
) -> TrainingLoop[Item]:
    """Put a training loop together; with a checkpoint, everything is restored from it.

    See ``TrainingLoop`` for the arguments.
    """
    settings = recipe.train
    seeded = enable_full_determinism if settings.full_determinism else set_seed
    seeded(recipe.seed)
    if not isinstance(model, FSDPModule):
        prepare_layers(recipe, model)
    align_special_tokens(model, tokenizer)  # the saved model generates as it was trained
    ratio = recipe.adapter.loraplus_lr_ratio if recipe.adapter else None
    reshard(model)
    prepared, optimizer = prepare(accelerator, model, make_optimizer(model, arguments, ratio))
    scheduler = make_scheduler(optimizer, arguments, state.max_steps)
    checkpointer = Checkpointer(
        RunPaths(run_dir).checkpoints, accelerator, prepared, tokenizer, optimizer, scheduler,
        keep=settings.save_total_limit, on_save=_on_save(recipe, compute),
    )  # fmt: skip
    nonfinite = NonFiniteSteps(skip=settings.non_finite == "skip")
    if checkpoint:
        source.restore(state.source)
        nonfinite.restore(state.nonfinite)
        checkpointer.restore(checkpoint)
        log.info(f"continuing from {checkpoint.name}")
    return TrainingLoop(
        settings, accelerator, prepared, optimizer, scheduler, objective, source,
        validate=Validation(prepared, accelerator, validation_examples, fitting, exact_match),
        checkpointer=checkpointer, state=state, fitting=fitting, nonfinite=nonfinite, stop=stop,
        recorders=recorders, progress=progress,
        figures=RunFigures(perplexity=settings.objective == "sft"),
    )  # fmt: skip


def _on_save(recipe: Recipe, compute: Compute) -> Callable[[Path], None] | None:
    """Return the function that records an adapter's base next to it."""
    if recipe.adapter is None:
        return None
    dtype = str(compute.dtype).removeprefix("torch.")
    return partial(note_base, config=recipe.model, dtype=dtype)
