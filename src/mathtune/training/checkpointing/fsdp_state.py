"""Weights and optimiser state of an FSDP2-sharded model, saved and loaded unsharded.

A checkpoint is the same whether one process, DDP or FSDP wrote it. So it loads on any number of
ranks, and ``model/`` is an ordinary folder of safetensors. The price is that rank 0 holds all of it
in main memory while writing, which limits the size of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.distributed.tensor import DTensor, distribute_tensor

from mathtune import ranks


def whole_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the unsharded weights on rank 0; other ranks get none.

    Every rank must call it. Frozen weights under an adapter are left out, as they are not saved.
    """
    adapted = hasattr(model, "peft_config")
    whole: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) in seen or (adapted and not value.requires_grad):
            continue
        seen.add(id(value))  # tied weights are saved once
        full = _whole(value.detach())
        if ranks.is_first():
            whole[name] = full
    return whole


def load_weights(model: Any, folder: Path) -> None:
    """Copy saved weights or a saved adapter into a model, on each rank its own shards.

    Raises:
        KeyError: If the folder holds weights that the model does not have.
    """
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        own, stem = get_peft_model_state_dict(model), "adapter_model"
    else:
        own, stem = model.state_dict(), "model"
    with torch.no_grad():
        for name, saved in _saved(folder, stem):
            own[name].copy_(_like(saved, own[name]))


def whole_optimizer(optimizer: Any) -> dict[str, Any]:
    """Return an optimiser's unsharded state; every rank must call it."""
    state: dict[str, Any] = optimizer.state_dict()
    return {
        **state,
        "state": {
            index: {key: _whole(value) for key, value in moments.items()}
            for index, moments in state["state"].items()
        },
    }


def load_optimizer(optimizer: Any, path: Path) -> None:
    """Load an optimiser's unsharded state, on each rank its own shards."""
    spread = ranks.sharding() is not None  # then each rank reads only its part of the file
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=spread)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        for key, value in moments.items():
            if isinstance(value, torch.Tensor) and value.shape == parameters[index].shape:
                moments[key] = _like(value, parameters[index])
    optimizer.load_state_dict(state)


def _whole(value: Any) -> Any:
    """Gather a tensor's shards; it stays in memory on rank 0 only."""
    if not isinstance(value, torch.Tensor):
        return value
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.cpu() if ranks.is_first() else full.new_empty(0)


def _like(whole: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Shard a tensor that every rank has like the target, without communication."""
    if not isinstance(target, DTensor):
        return whole
    on_device = whole.to(target.device, target.dtype)
    return distribute_tensor(on_device, target.device_mesh, target.placements, src_data_rank=None)


def _saved(folder: Path, stem: str) -> Iterator[tuple[str, torch.Tensor]]:
    index = folder / f"{stem}.safetensors.index.json"
    files = [f"{stem}.safetensors"]
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in files:
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (no mapping)
                yield key, file.get_tensor(key)
