"""What the C library does with memory that PyTorch frees on a CPU.

glibc returns blocks above 32 MB to the system at once and fetches them again, page by page, in the
next micro-batch: a quarter of a step's time with a large vocabulary. It keeps all smaller ones, and
with varying sizes many cannot be reused. So where memory is plentiful all of it is kept, and where
it is scarce each block of 1 MB or more is returned at once: that holds no more than training needs,
at the cost of time. Other C libraries differ and are left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import resource
from pathlib import Path
from typing import Any

import psutil

from mathtune import ranks
from mathtune.training.batching.micro_batches import Limits

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # malloc.h


def use_memory(model: Any, limits: Limits, *, ran_out: bool) -> None:
    """Keep freed memory for speed, unless it is scarce or ran out."""
    needed = needed_at_most(model, limits)
    free = free_memory() // ranks.local_world_size()
    if ran_out:
        give_back_freed_memory()
    elif free > needed:
        hold_freed_memory()
    else:
        give_back_freed_memory()
        log.info(
            f"training may take {needed / 2**30:.1f} GB and {free / 2**30:.1f} GB are free: freed "
            "memory is returned to the system at once, which takes more time"
        )


def hold_freed_memory() -> None:
    """Make glibc keep freed blocks of all sizes."""
    _set(_MMAP_MAX, 0)
    _set(_TRIM_THRESHOLD, -1)
    _set(_TOP_PAD, 2**26)


def give_back_freed_memory() -> None:
    """Make glibc return each freed block of 1 MB or more to the system, also those it holds."""
    _set(_MMAP_MAX, 65536)
    _set(_MMAP_THRESHOLD, 2**20)
    _set(_TRIM_THRESHOLD, 2**20)
    _set(_TOP_PAD, 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def free_memory() -> int:
    """Return the bytes that processes here may use: what is free, or a limit on them."""
    held = psutil.Process().memory_info()
    bounds = [psutil.virtual_memory().available + held.rss]
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (text := group.read_text().strip()) != "max":
        bounds.append(int(text))
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses != resource.RLIM_INFINITY:  # libraries reserve addresses without memory
        bounds.append(addresses - held.vms + held.rss)
    return int(min(bounds))


def needed_at_most(model: Any, limits: Limits) -> int:
    """Return a generous estimate of the bytes that training takes on a CPU.

    Weights, gradient and two moments, and for a micro-batch twice the inputs and outputs of linear
    layers, and its logits.
    """
    held = sum(each.numel() * each.element_size() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    head = model.get_output_embeddings().weight
    tables = (head, model.get_input_embeddings().weight)
    widths = sum(
        min(each.shape) if "lora_" in name else sum(each.shape[-2:])
        for name, each in model.named_parameters()
        if each.dim() > 1 and all(each is not table for table in tables)
    )
    return (
        held
        + 12 * trained
        + 8 * limits.max_tokens * widths
        + 4 * limits.max_supervised_tokens * len(head)
    )


def _set(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(option, value)
