"""The device to plan for: one by name, or this machine with its measured rates."""

from __future__ import annotations

import torch

from mathtune.models.compute import matmul_rate
from mathtune.planning.gpu_specs import Device, find_gpu
from mathtune.text.counts import counted
from mathtune.training.memory.glibc_malloc import free_memory


def this_machine() -> Device:
    """Return the GPU of this machine, else its CPU."""
    if not torch.cuda.is_available():
        return this_cpu()
    name = torch.cuda.get_device_name()
    native = torch.cuda.get_device_capability() >= (8, 0)
    return Device(
        name,
        "cuda",
        torch.cuda.get_device_properties(0).total_memory,
        bf16=matmul_rate("cuda", torch.bfloat16) if native else None,
        fp16=matmul_rate("cuda", torch.float16),
        fp32=matmul_rate("cuda", torch.float32),
        native_bf16=native,
        measured=True,
    )


def this_cpu() -> Device:
    """Return this machine's CPU: its memory and its measured rates."""
    return Device(
        f"this CPU, {counted(torch.get_num_threads(), 'thread')}",
        "cpu",
        free_memory(),
        bf16=matmul_rate("cpu", torch.bfloat16, size=256, seconds=0.05),
        fp32=matmul_rate("cpu", torch.float32, seconds=0.05),
        measured=True,
    )


def find_device(name: str | None, memory: int | None) -> Device:
    """Return the named device; without a name, this machine, or a GPU with this much memory.

    Raises:
        ConfigError: The device is not in the list.
    """
    if name is not None:
        return this_cpu() if name.lower() == "cpu" else find_gpu(name)
    if memory is not None:
        return Device("a GPU that computes bf16", "cuda", memory)
    return this_machine()
