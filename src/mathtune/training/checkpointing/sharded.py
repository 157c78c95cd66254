"""A training's weights and optimiser state, of which each rank writes and reads its own share.

PyTorch's distributed checkpoints, in safetensors files that know which part of a tensor they hold.
So no rank gathers anything, no pickle is opened, and any number of ranks reads what any other
number wrote. A share is copied and then written by a thread, while training goes on.

    sharded/shard-00001-model-00001-of-00016.safetensors    rank 0's share of some tensors
    sharded/optimizer.pt                                    settings, and what is not sharded
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor

from mathtune import ranks
from mathtune.storage import saving
from mathtune.training.checkpointing.fsdp_state import each_once

FOLDER, _REST = "sharded", "optimizer.pt"
_FILES, _SMALL_FILE = 16, 16 * 2**20
"""A rank writes so many files, one after another, because one of them is in memory twice more;
fewer where all ranks' parts of one would have fewer bytes."""


def is_sharded(checkpoint: Path) -> bool:
    """Return whether a checkpoint was saved by each rank for itself."""
    return (checkpoint / FOLDER).is_dir()


def begin_saving(
    model: Any, optimizer: Any, checkpoint: Path, publish: Callable[[], None]
) -> Future[None]:
    """Copy this rank's share and let a thread write it; training may go on at once.

    Args:
        model: Sharded.
        optimizer: Over its weights.
        checkpoint: Where to; must exist.
        publish: Called on rank 0 when all ranks have written.

    Returns:
        Done when the share is written, on rank 0 when all is published; holds a DiskError if the
        disk was full.
    """
    tensors, rest = _weights(model), _optimizer(optimizer, model)
    tensors |= rest.pop("tensors")
    folder = checkpoint / FOLDER
    if ranks.is_first():
        folder.mkdir(exist_ok=True)  # another rank may be faster
        torch.save(rest, folder / _REST)
    writing = dcp.async_save(
        tensors,
        storage_writer=dcp.HuggingFaceStorageWriter(
            str(folder), fqn_to_index_mapping=_files(tensors), save_distributed=True
        ),
        process_group=ranks.background_group(),
        async_stager=_Copier(),
    )
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def complete() -> None:
        with saving(checkpoint.parent, needed=needed):
            try:
                writing.result()
            except CheckpointException as error:  # every rank's, the same on all
                raise next(iter(error.failures.values()))[0] from error
            if ranks.is_first():
                publish()

    thread = ThreadPoolExecutor(1)
    done = thread.submit(complete)
    thread.shutdown(wait=False)
    return done


class _Copier:
    """Copies shares to main memory before training changes them.

    PyTorch's own stagers take twice the memory of the shares, and more.
    """

    should_synchronize_after_execute = False

    def stage(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the copy."""
        return {name: _copied(tensor) for name, tensor in state_dict.items()}

    def synchronize_staging(self) -> None:
        """Do nothing: ``stage`` returns when all is copied."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    if not isinstance(tensor, DTensor):
        return tensor.to("cpu", copy=True)
    return DTensor.from_local(
        tensor.to_local().to("cpu", copy=True),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def load_weights(model: Any, checkpoint: Path) -> None:
    """Copy a checkpoint's weights into a model: whole, or on each rank its share."""
    with torch.no_grad():
        _read(_weights(model), checkpoint)


def load_optimizer(optimizer: Any, model: Any, checkpoint: Path) -> None:
    """Load an optimiser's state: whole, or on each rank its share."""
    rest = torch.load(checkpoint / FOLDER / _REST, weights_only=True)
    names = _names(optimizer, model)
    weights = dict(model.named_parameters())
    state: dict[int, dict[str, Any]] = {}
    wanted: dict[str, torch.Tensor] = {}
    for index, name in enumerate(names):
        state[index] = dict(rest["state"].get(name, {}))
        for key, dtype in rest["dtypes"].get(name, {}).items():
            empty = torch.empty_like(weights[name].detach(), dtype=dtype)
            wanted[f"optimizer.{name}.{key}"] = state[index][key] = empty
    _read(wanted, checkpoint)
    kept = {index: each for index, each in state.items() if each}
    optimizer.load_state_dict({"state": kept, "param_groups": rest["param_groups"]})


def _read(tensors: dict[str, torch.Tensor], checkpoint: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process
        dcp.load(
            tensors,
            storage_reader=dcp.HuggingFaceStorageReader(str(checkpoint / FOLDER)),
            process_group=ranks.group(),
            no_dist=ranks.world_size() == 1,
        )


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {f"model.{name}": tensor.detach() for name, tensor in each_once(model)}


def _optimizer(optimizer: Any, model: Any) -> dict[str, Any]:
    """Return an optimiser's state as ``tensors`` of a weight's shape, and the rest.

    Steps and other small numbers are the same on every rank.
    """
    packed = optimizer.state_dict()
    weights = dict(model.named_parameters())
    tensors: dict[str, torch.Tensor] = {}
    dtypes: dict[str, dict[str, torch.dtype]] = {}
    state: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(_names(optimizer, model)):
        for key, value in packed["state"].get(index, {}).items():
            if isinstance(value, torch.Tensor) and value.shape == weights[name].shape:
                tensors[f"optimizer.{name}.{key}"] = value
                dtypes.setdefault(name, {})[key] = value.dtype
                continue
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            state.setdefault(name, {})[key] = (
                whole.cpu() if isinstance(whole, torch.Tensor) else whole
            )
    return {
        "tensors": tensors,
        "dtypes": dtypes,
        "state": state,
        "param_groups": packed["param_groups"],
    }


def _names(optimizer: Any, model: Any) -> list[str]:
    """Return the names of an optimiser's weights in its order."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]


def _files(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return the number of the file of each tensor, from 1, all of about the same size."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    most = max(_SMALL_FILE, sum(sizes.values()) // _FILES)
    number, held = 1, 0
    files: dict[str, int] = {}
    for name, size in sizes.items():
        if held and held + size > most:
            number, held = number + 1, 0
        files[name] = number
        held += size
    return files
