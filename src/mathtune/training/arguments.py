"""A recipe as ``transformers.TrainingArguments``."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import TrainingArguments

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.models.compute import Compute
from mathtune.run_paths import RunPaths

log = logging.getLogger(__name__)


def training_arguments(recipe: Recipe, compute: Compute, run_dir: Path) -> TrainingArguments:
    """Return arguments for optimiser, schedule and accelerator; binds the process to its device.

    Raises:
        ConfigError: If Transformers refuses a value.
    """
    train = recipe.train
    if compute.device == "cpu" and train.optim.startswith("paged_"):
        log.info(f"{train.optim}: paging needs a GPU; the same optimiser runs without it")
    try:
        return TrainingArguments(
            output_dir=str(RunPaths(run_dir).checkpoints),
            per_device_train_batch_size=train.per_device_train_batch_size,
            learning_rate=train.learning_rate,
            lr_scheduler_type=train.lr_scheduler_type,
            warmup_steps=train.warmup_steps,
            optim=train.optim,
            weight_decay=train.weight_decay,
            adam_beta1=train.adam_beta1,
            adam_beta2=train.adam_beta2,
            max_grad_norm=train.max_grad_norm,
            eval_strategy=train.eval_strategy,  # some schedules follow validation results
            eval_steps=train.eval_steps,
            bf16=compute.autocast_bf16,
            use_cpu=compute.device == "cpu",
            report_to="none",  # we call trackers ourselves, so that none can stop a run
            seed=recipe.seed,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"train: {error}") from error
