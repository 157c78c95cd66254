"""``train`` and ``tracking``: how to train, and where its figures go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mathtune.config.schema.section import SAME_RESULT, Fraction01, Positive, Section

OptimizerName = str
"""Any ``optim`` of Transformers, which checks the name when training begins."""


def _steps(value: int) -> int:
    if value == 0 or value < -1:
        raise ValueError(f"is {value}; give the number of steps, or -1 to train by epochs")
    return value


class TrainConfig(Section):
    """How to train; names and meanings as in ``TrainingArguments`` and ``SFTConfig``."""

    objective: Literal["sft", "grpo", "gkd", "dpo", "verifier"] = "sft"
    """``sft``: learn the solutions; ``grpo``: learn from the model's own graded answers; ``gkd``:
    learn from a teacher on own answers; ``dpo``: learn to prefer right to wrong answers of a sample
    file; ``verifier``: learn which are right."""
    num_train_epochs: Annotated[float, Field(gt=0)] = 3
    """Epochs over the training problems, unless ``max_steps`` is given."""
    max_steps: Annotated[int, AfterValidator(_steps)] = -1
    """Optimiser steps; overrides ``num_train_epochs`` when above 0."""
    per_device_train_batch_size: Positive = 8
    """At most this many problems in one micro-batch on each device; with ``grpo`` and ``gkd``
    all answers of each."""
    gradient_accumulation_steps: Positive = 1
    """An optimiser step sees batch × accumulation × devices problems, however they are split."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Peak learning rate."""
    lr_scheduler_type: str = "cosine"
    """Schedule by its Transformers name."""
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    """Steps of linear warm-up; below 1 it is a share of all steps."""
    optim: OptimizerName = "adamw_torch_fused"
    """Optimiser by its Transformers name, for example ``paged_adamw_8bit``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""
    adam_beta1: Fraction01 = 0.9
    """First moment decay."""
    adam_beta2: Fraction01 = 0.999
    """Second moment decay."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Clip the gradient to this norm; 0: no clipping."""
    label_smoothing_factor: Fraction01 = 0.0
    """Label smoothing."""
    max_length: Positive = 1024
    """Longest example in tokens. A longer one is never truncated: see ``overlong``."""
    overlong: Literal["drop", "error"] = "drop"
    """What to do with an example longer than ``max_length``; drops are counted and shown."""
    completion_only_loss: bool = True
    """Train on solutions only; false: on the question's text as well."""
    gradient_checkpointing: Annotated[bool, SAME_RESULT] = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    micro_batch_tokens: Annotated[Positive | None, SAME_RESULT] = None
    """At most this many tokens in one micro-batch; never changes the gradient. Default: by
    device."""
    padding_free: Annotated[bool, SAME_RESULT] = True
    """Put the examples of a micro-batch in one row without padding, if the model keeps them
    apart."""
    torch_compile: Annotated[bool, SAME_RESULT] = False
    """Compile the model's layers at the start; needs a C++ compiler, takes up to a minute."""
    use_liger_kernel: Annotated[bool, SAME_RESULT] = False
    """Liger's kernels for norms, rotations and activations, on GPUs (``liger-kernel``)."""
    logits_chunk_bytes: Annotated[Positive, SAME_RESULT] = 512 * 2**20
    """Largest block of logits held at once; never changes the gradient."""
    non_finite: Literal["stop", "skip"] = "stop"
    """A step whose loss or gradient is not finite: stop, or skip it (at most 10 in a row)."""
    eval_strategy: Literal["epoch", "steps", "no"] = "epoch"
    """When to measure validation loss; a better one is always saved. ``no``: only before the
    first step and after the last, whose weights are kept."""
    eval_steps: Positive = 100
    """Interval with ``eval_strategy: steps``."""
    save_steps: Annotated[Positive, SAME_RESULT] = 500
    """Interval of additional checkpoints, to continue from after an interruption."""
    save_only_when_better: Annotated[bool, SAME_RESULT] = True
    """Save no checkpoint after a validation that did not improve."""
    save_total_limit: Annotated[Positive, SAME_RESULT] = 2
    """Checkpoints kept; the best and the newest are never deleted."""
    exact_match_samples: Annotated[int, Field(ge=0)] = 0
    """Let the model solve this many validation problems at every validation; 0: loss only."""
    metric_for_best_model: Literal["eval_loss", "eval_exact_match"] = "eval_loss"
    """Metric that chooses the checkpoint; ``eval_exact_match`` needs ``exact_match_samples``."""
    logging_steps: Positive = 10
    """Interval of training metrics."""
    early_stopping_patience: Positive | None = None
    """Stop after this many validations without improvement."""
    fsdp: Annotated[Literal["full_shard", "hybrid_shard"] | None, SAME_RESULT] = None
    """Several processes share weights, gradients and optimiser state: ``full_shard`` (FSDP2) among
    all, ``hybrid_shard`` (HSDP) among ``dp_shard_size``. Default: as launched, else DDP."""
    dp_shard_size: Annotated[Positive | None, SAME_RESULT] = None
    """With ``hybrid_shard``: how many processes share one copy. Default: those of one machine."""
    fsdp_state_dict_type: Annotated[
        Literal["SHARDED_STATE_DICT", "FULL_STATE_DICT"], SAME_RESULT
    ] = "SHARDED_STATE_DICT"
    """Checkpoints of ``fsdp``: each process writes its share while training goes on, or the first
    gathers all. ``model/`` is whole either way."""
    full_determinism: bool = False
    """Deterministic GPU kernels (slower). CPU runs are deterministic anyway."""


class TrackingConfig(Section):
    """Where metrics go besides ``metrics.jsonl``, which is always written."""

    report_to: Annotated[
        list[Literal["wandb", "tensorboard", "mlflow", "trackio"]], SAME_RESULT
    ] = Field(default_factory=list)
    """Trackers by their Transformers names. W&B without key or server records offline."""
    project: Annotated[str, SAME_RESULT] = "mathtune"
    """Project name in the tracker."""
