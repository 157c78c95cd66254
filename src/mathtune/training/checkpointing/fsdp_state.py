"""Weights and optimiser state of an FSDP2-sharded model, saved and loaded unsharded.

So ``model/`` is an ordinary folder of safetensors, written file by file. The checkpoint of an
adapter, or with ``train.fsdp_state_dict_type: FULL_STATE_DICT``, is the same whether one process,
DDP or FSDP wrote it; rank 0 then holds all of it in main memory while writing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mathtune import ranks
from mathtune.models.checks.weight_files import INDEX

_LARGE_FILE = 5 * 2**30
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""Their names in safetensors files."""


def whole_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the unsharded weights on rank 0; other ranks get none.

    Every rank must call it. Frozen weights under an adapter are left out, as they are not saved.
    """
    adapted = hasattr(model, "peft_config")
    whole: dict[str, torch.Tensor] = {}
    for name, value in each_once(model):
        if adapted and not value.requires_grad:
            continue
        full = _whole(value.detach())
        if ranks.is_first():
            whole[name] = full
    return whole


def write_whole_weights(model: Any, folder: Path) -> None:
    """Write unsharded weights as ``from_pretrained`` reads them; every rank must call it.

    Rank 0 is sent one rank's rows of one tensor at a time, and holds no more.
    """
    tensors = {name: value.detach() for name, value in each_once(model)}
    files = _in_files(tensors)
    index: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        several = f"-{number:05d}-of-{len(files):05d}" if len(files) > 1 else ""
        file = f"model{several}.safetensors"
        index |= dict.fromkeys(names, file)
        _write(folder / file, {name: tensors[name] for name in names})
    if ranks.is_first() and len(files) > 1:
        about = {"metadata": {"total_size": sum(map(_bytes, tensors.values()))}}
        text = json.dumps(about | {"weight_map": index}, indent=2)
        (folder / INDEX).write_text(text, encoding="utf-8")


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file tensor by tensor; the library's own writer needs all at once."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        end = at + _bytes(tensor)
        kind, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") if ranks.is_first() else nullcontext() as file:
        if file is not None:
            file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            for rows in _in_order(tensor):
                if file is not None:
                    file.write(rows.numpy().data)


def _in_order(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a tensor's bytes in order, on rank 0, as they come from the ranks that hold them.

    Every rank must iterate. With copies on several groups of ranks, the first sends.
    """
    kinds = tensor.placements if isinstance(tensor, DTensor) else ()
    if not kinds or kinds[-1] != Shard(0) or not all(kind.is_replicate() for kind in kinds[:-1]):
        yield _as_bytes(_whole(tensor))
        return
    holders = tensor.device_mesh.mesh.view(-1, tensor.device_mesh.size(-1))[0].tolist()
    left, each = len(tensor), -(-len(tensor) // len(holders))
    for holder in holders:
        count = min(each, left)
        left -= count
        if not count:
            return
        if holder == ranks.rank():
            own = _as_bytes(tensor.to_local())
            if ranks.is_first():
                yield own
            else:
                dist.send(own, 0, ranks.group())
        elif ranks.is_first():
            rows = torch.empty(_bytes(tensor) // len(tensor) * count, dtype=torch.uint8)
            dist.recv(rows, holder, ranks.group())
            yield rows


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)


def _in_files(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Return names file by file, each file at most ``_LARGE_FILE`` bytes or one tensor."""
    files: list[list[str]] = [[]]
    held = 0
    for name, tensor in tensors.items():
        if files[-1] and held + _bytes(tensor) > _LARGE_FILE:
            files.append([])
            held = 0
        files[-1].append(name)
        held += _bytes(tensor)
    return files


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def each_once(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a model's tensors by name; tied ones once."""
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


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
