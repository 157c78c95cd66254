"""Faster kernels for a model's layers, where a recipe asks for them."""

from __future__ import annotations

import logging
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.models.compute import Compute
from mathtune.training.batching.padding_free import varying_lengths_kernel

log = logging.getLogger(__name__)

_COMPILER = ("torch._dynamo", "torch._inductor")

LIGER = {"fused_linear_cross_entropy": False, "cross_entropy": False}
"""Liger's norms, rotations and activations; the loss is ours, at supervised positions only."""


def check_kernels(recipe: Recipe, compute: Compute) -> None:
    """Raise ConfigError where a recipe asks for kernels that train on GPUs only."""
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


def describe_kernels(recipe: Recipe, model: Any, compute: Compute, padding_free: bool) -> str:
    """Return which kernels compute attention and the optimiser step in training, and why."""
    kernel = str(model.config.get_text_config()._attn_implementation)
    sixteen_bits = compute.autocast_bf16 or compute.dtype.itemsize == 2
    if not padding_free or kernel.startswith("flash_attention"):
        asked = recipe.model.attn_implementation is not None
        why = "as the recipe asks" if asked else "Transformers' choice for this model"
        attention = f"{kernel}, {why}"
    elif compute.device == "cuda" and sixteen_bits and varying_lengths_kernel():
        attention = "PyTorch's kernel for sequences of varying lengths, one call per row"
    else:
        attention = (
            "PyTorch's SDPA, one call per example (its kernel for whole rows needs a GPU, "
            "16-bit numbers and PyTorch 2.11)"
        )
    optim = recipe.train.optim
    fused = ", all weights in one kernel" if optim.endswith("_fused") else ""
    return f"attention: {attention}; optimiser: {optim}{fused}"


def compile_fault(error: Exception) -> ConfigError | None:
    """Return the message for the user if an error came from compiling layers."""
    cause: BaseException | None = error
    while cause is not None and not type(cause).__module__.startswith(_COMPILER):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    summary = next(iter(lines), type(error).__name__)
    return ConfigError(
        f"train.torch_compile=true: PyTorch could not compile this model here ({summary[:300]}); "
        "fix the compiler or set train.torch_compile=false to go on"
    )


def prepare_layers(recipe: Recipe, model: Any) -> None:
    """Apply the kernels and the activation checkpointing that a recipe asks for."""
    if recipe.train.use_liger_kernel:
        from transformers.integrations.liger import apply_liger_kernel  # imports PEFT: 2 s

        apply_liger_kernel(model, LIGER)
    if recipe.train.torch_compile:
        layers = compile_layers(model)
        log.info(
            f"compiling {layers} layers at the first steps"
            if layers
            else "train.torch_compile: this model's layers are not Transformers'; none is compiled"
        )
    if recipe.train.gradient_checkpointing:
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable()
        else:  # its name in earlier versions of Transformers
            model.gradient_checkpointing_enable()


def compile_layers(model: Any) -> int:
    """Compile each of a model's layers and return how many there are.

    Layers of one kind share the compiled code, so many take no longer, and hooks around the model
    or before its output layer stay outside.
    """
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)
