"""Optimisers and schedules by their Transformers names."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

_NOT_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
"""Names of weights without weight decay, as in Transformers."""


def make_optimizer(
    model: Any, arguments: TrainingArguments, loraplus_lr_ratio: float | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser that ``arguments.optim`` names, over the trainable weights.

    Args:
        model: The model to train.
        arguments: Name, learning rate, betas and weight decay.
        loraplus_lr_ratio: LoRA+ (Hayou et al. 2024): B matrices learn at this multiple of the rate.
    """
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    optimizer: torch.optim.Optimizer
    if loraplus_lr_ratio is not None:
        from peft.optimizers import create_loraplus_optimizer

        optimizer = create_loraplus_optimizer(
            model,
            kind,
            loraplus_lr_ratio=loraplus_lr_ratio,
            loraplus_weight_decay=arguments.weight_decay,
            **options,
        )
    elif isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer):
        groups = _parameter_groups(model, arguments.weight_decay)
        groups = options.pop("params", groups)  # some optimisers choose the weights themselves
        optimizer = kind(groups, **options)
        if options.get("optim_bits") == 8 and "bitsandbytes" in kind.__module__:
            _embeddings_in_32_bits(model)
    else:  # a factory, which splits the weights among several optimisers
        optimizer = kind()(model, **options)
    return optimizer


def _parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable weights: those with weight decay, and norms and biases."""
    decayed = set(get_parameter_names(model, [torch.nn.LayerNorm], _NOT_DECAYED))
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return [
        {
            "params": [weight for name, weight in trained if name in decayed],
            "weight_decay": weight_decay,
        },
        {
            "params": [weight for name, weight in trained if name not in decayed],
            "weight_decay": 0.0,
        },
    ]


def _embeddings_in_32_bits(model: Any) -> None:
    """Keep the moments of embeddings in 32 bits, as bitsandbytes advises and Transformers does."""
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    manager.initialize()  # else the positions of an earlier model's embeddings apply to this one
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


def make_scheduler(optimizer: Any, arguments: TrainingArguments, steps: int) -> Any:
    """Return the learning-rate schedule that ``arguments.lr_scheduler_type`` names.

    One that follows validation is told whether the metric that chooses the checkpoint should rise.
    """
    options = dict(arguments.lr_scheduler_kwargs or {})
    if arguments.lr_scheduler_type == "reduce_lr_on_plateau" and arguments.greater_is_better:
        options.setdefault("mode", "max")
    return get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=arguments.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=options,
    )


def follows_validation(scheduler: Any) -> bool:
    """Return whether a schedule follows validation results, not steps."""
    return "metrics" in inspect.signature(scheduler.step).parameters
