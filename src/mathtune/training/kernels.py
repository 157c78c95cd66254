"""Faster kernels for what a model computes between its products, where a recipe asks for them."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.training.device import Compute

LIGER = {"fused_linear_cross_entropy": False, "cross_entropy": False}
"""Liger's norms, rotations and activations; the loss is ours, at supervised positions only."""


def check_kernels(recipe: Recipe, compute: Compute) -> None:
    """Raise ConfigError where kernels are asked for that train on GPUs only."""
    kernel = recipe.model.attn_implementation
    if kernel == "flex_attention" and compute.device == "cpu":
        raise ConfigError(
            f"model.attn_implementation={kernel} on CPU has no backward pass, so it cannot train; "
            "set model.attn_implementation=sdpa"
        )
    if recipe.train.use_liger_kernel and compute.device != "cuda":
        raise ConfigError(
            f"train.use_liger_kernel=true on {compute.name}: Liger's kernels run on GPUs only; set "
            "train.use_liger_kernel=false"
        )


def compile_layers(model: Any) -> int:
    """Compile each of a model's layers and return how many there are.

    Layers of one kind share what is compiled, so it takes no longer for many, and what is put
    around the model or before its output layer stays outside.
    """
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)
