"""A recipe in the words of ``transformers.TrainingArguments``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from transformers import TrainingArguments

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.models.compute import Compute
from mathtune.training.kernels import LIGER


def training_arguments(
    recipe: Recipe, compute: Compute, run_dir: Path, console: Console, *, validate_first: bool
) -> TrainingArguments:
    """Return what the trainer is told.

    Raises:
        ConfigError: If Transformers refuses a value.
    """
    train = recipe.train
    if compute.device == "cpu" and train.optim.startswith("paged_"):
        console.print(f"{train.optim}: pages need a GPU; the same optimiser runs without them")
    try:
        return TrainingArguments(
            output_dir=str(run_dir / "checkpoints"),
            run_name=run_dir.name,
            # A data-loader batch is one optimiser step's whole set; MathTrainer cuts it.
            per_device_train_batch_size=(
                train.per_device_train_batch_size * train.gradient_accumulation_steps
            ),
            gradient_accumulation_steps=1,
            num_train_epochs=train.num_train_epochs,
            max_steps=train.max_steps,
            learning_rate=train.learning_rate,
            lr_scheduler_type=train.lr_scheduler_type,
            warmup_steps=train.warmup_steps,
            optim=train.optim,
            weight_decay=train.weight_decay,
            adam_beta1=train.adam_beta1,
            adam_beta2=train.adam_beta2,
            max_grad_norm=train.max_grad_norm,
            label_smoothing_factor=train.label_smoothing_factor,
            activation_checkpointing=train.gradient_checkpointing,
            bf16=compute.autocast_bf16,
            use_cpu=compute.device == "cpu",
            eval_strategy=train.eval_strategy,
            eval_on_start=validate_first,
            eval_steps=train.eval_steps,
            save_strategy="best",  # and where SavePoints says so; MathTrainer deletes old ones
            load_best_model_at_end=True,
            metric_for_best_model=train.metric_for_best_model,
            greater_is_better=train.metric_for_best_model == "eval_exact_match",
            logging_steps=train.logging_steps,
            logging_nan_inf_filter=False,  # MathTrainer stops where a loss is not finite
            report_to="none",  # trackers are callbacks of ours, so that none can stop a run
            project=recipe.tracking.project,
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,  # every weight is used in every pass
            use_liger_kernel=train.use_liger_kernel,
            liger_kernel_config=LIGER,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=recipe.seed,
            data_seed=recipe.seed,
            full_determinism=train.full_determinism,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"train: {error}") from error
