"""The device, the other processes and the number format, through accelerate.

``accelerate launch`` or ``torchrun`` decides between one process, DDP, FSDP2 and DeepSpeed; the
loop is the same for all of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import DistributedType, fsdp2_prepare_model
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainingArguments

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import ModelError
from mathtune.models.sharded import read_weights
from mathtune.training.kernels import prepare_layers


def make_accelerator(
    recipe: Recipe, arguments: TrainingArguments, model: Any
) -> tuple[Accelerator, Any]:
    """Return the accelerator of a training, and the model.

    Where ``is_sharded_first``, this rank has its share of the model's weights on return.

    Args:
        recipe: Names the files that weights on the meta device are read from.
        arguments: Of this training; creating them has bound the process to its device.
        model: With its adapter, if any.

    Raises:
        ModelError: PyTorch cannot shard the model, or weights are NaN or infinite.
    """
    accelerator = _accelerator(arguments)
    if not is_sharded_first(recipe):
        return accelerator, model
    prepare_layers(recipe, model)
    try:
        sharded = fsdp2_prepare_model(accelerator, model)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"FSDP2 cannot divide this {model.config.model_type} model: {error}; train it without "
            "FSDP, so that each process holds all of it (DDP)"
        ) from error
    read_weights(sharded, recipe.model, accelerator.device)
    return accelerator, sharded


def is_sharded_first(recipe: Recipe) -> bool:
    """Return whether the model is sharded before anything else is done with it.

    Then no rank needs all its weights. Other objectives measure with the whole model first.
    """
    return ranks.sharding() == "FSDP" and recipe.train.objective == "sft"


def _accelerator(arguments: TrainingArguments) -> Accelerator:
    if ranks.sharding() == "FSDP" and arguments.device.type == "cpu":
        # FSDP works with gloo too, but accelerate reads its settings only where it sees GPUs.
        PartialState().distributed_type = DistributedType.MULTI_GPU
    accelerator = Accelerator(
        mixed_precision=arguments.mixed_precision,
        # Every weight is used in every micro-batch.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=False)],
    )
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.mixed_precision_policy is not None:
        plugin.mixed_precision_policy = dataclasses.replace(
            plugin.mixed_precision_policy, reduce_dtype=torch.float32
        )
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:  # what it would read from a data loader and a Trainer
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = (
            arguments.per_device_train_batch_size
        )
        plugin.deepspeed_config["gradient_clipping"] = arguments.max_grad_norm
    return accelerator


def reshard(model: Any) -> None:
    """Let a model under FSDP show its sharded weights; the last forward pass left some whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def prepare(accelerator: Accelerator, model: Any, optimizer: Any) -> tuple[Any, Any]:
    """Return model and optimiser as the loop uses them; a sharded model is ready already."""
    if isinstance(model, FSDPModule):
        return model, accelerator.prepare_optimizer(optimizer)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    return prepared, optimizer


def parallelism(model: Any) -> str:
    """Return how a prepared model is distributed over the processes, from the model itself."""
    if isinstance(model, FSDPModule):
        mesh = next(p.device_mesh for p in model.parameters() if isinstance(p, DTensor))
        return "FSDP2" if mesh.ndim == 1 else "HSDP"
    if isinstance(model, DistributedDataParallel):
        return "DDP"
    return ranks.sharding() or "none"
