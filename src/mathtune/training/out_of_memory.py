"""A step that does not fit into memory is cut smaller and taken again.

The gradient of a step does not depend on how its examples are cut (``batches.py``), so training
goes on as if the smaller cut had been asked for from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mathtune import ranks
from mathtune.errors import TrainingStopped
from mathtune.records import Example
from mathtune.training.batches import Limits, supervised_count

_FEW_TARGETS = 32
"""Logits of no more tokens are not what fills the memory."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that a device, or this machine, has no memory left."""
    # On CPU PyTorch raises a bare RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halved(limits: Limits, micro_batches: Sequence[Sequence[Example]], step: int) -> Limits:
    """Return limits that cut the largest of the micro-batches in two, or an example's logits.

    Args:
        limits: The limits they were cut by.
        micro_batches: Those of the step that did not fit.
        step: Its number, for the message.

    Raises:
        TrainingStopped: If each of them is a single example and its logits are few.
    """
    several = [micro for micro in micro_batches if len(micro) > 1]
    if not several:
        most = max(supervised_count([example]) for micro in micro_batches for example in micro)
        if (targets := min(limits.targets, most)) > _FEW_TARGETS and ranks.sharding() is None:
            return replace(limits, targets=(targets + 1) // 2)
        longest = max(len(example.ids) for micro in micro_batches for example in micro)
        raise TrainingStopped(
            f"out of memory at step {step} with one example of {longest} tokens at a time; the "
            "last checkpoint is whole. Set train.gradient_checkpointing=true, lower "
            "train.max_length or train.logits_chunk_bytes, or train an adapter (adapter.r=8, "
            "model.load_in_4bit=true)"
        )
    examples = max(map(len, several))
    tokens = max(map(limits.tokens_of, several))
    return replace(
        limits,
        examples=min(limits.examples, (examples + 1) // 2),
        tokens=(tokens + 1) // 2,
    )
