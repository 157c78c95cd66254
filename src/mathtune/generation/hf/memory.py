"""How many rows are decoded at once."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from mathtune.errors import ModelError

MAX_ROWS = {"cpu": 64, "cuda": 256}
"""Most rows if the caller gives no number: more hardly add tokens per second."""

LOGIT_BYTES = 32
"""Bytes per vocabulary entry and row: logits, and in sampling float32 and float64 copies."""

_FREE_SHARE = {"cpu": 0.25, "cuda": 0.6}


def free_budget(model: Any) -> int:
    """Return the share of the memory now free on a model's device that rows may take, in bytes."""
    device = next(model.parameters()).device
    kind = device.type if device.type in MAX_ROWS else "cpu"
    return int(_free(device) * _FREE_SHARE[kind])


def row_bytes(model: Any, capacity: int, bytes_per_token: int) -> int:
    """Return the memory of one row of ``capacity`` own tokens."""
    vocabulary: int = model.config.get_text_config(decoder=True).vocab_size
    return capacity * bytes_per_token + vocabulary * LOGIT_BYTES


def rows_that_fit(
    model: Any, row_bytes: int, tasks: int, wanted: int | None, budget: int | None
) -> int:
    """Return the number of rows: as many as wanted that fit the memory budget.

    Args:
        model: Its first parameter's device is used.
        row_bytes: Memory of one row.
        tasks: Completions to make; more rows than this would stay empty.
        wanted: Most rows, or None for ``MAX_ROWS``.
        budget: In bytes, or None for a share of the memory that is free.

    Raises:
        ModelError: Not even one row and the spare fit.
    """
    device = next(model.parameters()).device
    kind = device.type if device.type in MAX_ROWS else "cpu"
    if budget is None:
        budget = free_budget(model)
    fitting = budget // row_bytes - 1  # one row is the spare
    if fitting < 1:
        raise ModelError(
            f"one row takes {row_bytes:,} bytes and two are needed, but the memory budget is "
            f"{budget:,}; raise the budget or lower max_new_tokens"
        )
    return min(tasks, MAX_ROWS[kind] if wanted is None else wanted, fitting)


def _free(device: torch.device) -> int:
    """Return the bytes that new tensors on a device can take."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    # PyTorch keeps what earlier tensors took; after a training that can be nearly all of a GPU.
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached
