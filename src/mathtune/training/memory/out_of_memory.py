"""A step that does not fit into memory is split into smaller micro-batches and retried.

The gradient of a step does not depend on how its examples are split (``micro_batches.py``), so
training goes on as if the smaller limits had been set from the start. Limits that fit are kept in
the run folder, and the next start begins with them. Several ranks can only go on by a restart,
because the others are in the middle of a micro-batch, waiting for the rank that failed.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mathtune import ranks
from mathtune.errors import RunError, TrainingStopped
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json, write_json
from mathtune.text.counts import counted
from mathtune.training.batching.across_ranks import Item, MicroBatches
from mathtune.training.batching.micro_batches import Limits, supervised_count
from mathtune.training.memory.glibc_malloc import give_back_freed_memory

log = logging.getLogger(__name__)

_KEPT = ("max_examples", "max_tokens", "max_supervised_tokens")

_FEW_LOGITS = 32
"""Logits of this many tokens or fewer are not what fills the memory."""

_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


@dataclass
class FittingLimits:
    """Limits of a micro-batch, lowered when memory runs out, over all starts of a run.

    Attributes:
        path: File that keeps them.
        circumstances: Where they were found. If these change, the search starts from scratch.
        limits: The limits that fit, as far as known.
        cuts: How often they were lowered.
    """

    path: Path
    circumstances: dict[str, Any]
    limits: Limits
    cuts: int = 0

    @classmethod
    def open(cls, run_dir: Path, limits: Limits, **circumstances: Any) -> FittingLimits:
        """Return what an earlier start of the run found, the same on every rank.

        Args:
            run_dir: The run folder.
            limits: Those of the recipe and the model.
            circumstances: What else memory depends on, for JSON.
        """
        known = {**asdict(limits), **circumstances}
        asked = cls(RunPaths(run_dir).limits, known, limits)
        return ranks.from_first(asked._found_before)

    def _found_before(self) -> FittingLimits:
        with contextlib.suppress(RunError):  # missing or damaged: found again if necessary
            kept = read_json(self.path, ("circumstances", *_KEPT, "cuts"))
            sound = all(type(kept[name]) is int and kept[name] > 0 for name in (*_KEPT, "cuts"))
            if sound and kept["circumstances"] == self.circumstances:
                limits = replace(self.limits, **{name: kept[name] for name in _KEPT})
                return replace(self, limits=limits, cuts=kept["cuts"])
        return self

    def cut(self, limits: Limits) -> None:
        """Take smaller limits and keep them for the next start."""
        self.limits = limits
        self.cuts += 1
        kept = {name: getattr(limits, name) for name in _KEPT}
        with contextlib.suppress(OSError):  # then it is found again; a full disk ends no run here
            write_json(self.path, {"circumstances": self.circumstances, **kept, "cuts": self.cuts})

    def describe(self) -> str:
        """Return as text how large a micro-batch may be."""
        limits = self.limits
        return (
            f"at most {counted(limits.max_examples, 'example')}, {limits.max_tokens} tokens and "
            f"the logits of {limits.max_supervised_tokens} tokens at a time"
        )


def within_memory(
    fitting: FittingLimits,
    split: Callable[[Limits], MicroBatches[Item]],
    compute: Callable[[MicroBatches[Item]], torch.Tensor],
    *,
    model: torch.nn.Module,
    where: str,
) -> torch.Tensor:
    """Compute over a step's micro-batches; if memory runs out, again over smaller ones.

    Args:
        fitting: Limits of a micro-batch; lowered when memory runs out.
        split: Returns this rank's micro-batches within given limits.
        compute: Called with them.
        model: Its gradients are dropped before a retry.
        where: Which step it is, for messages.

    Raises:
        TrainingStopped: They cannot be made smaller, or other ranks wait in the middle of one.
    """
    while True:
        micro_batches = split(fitting.limits)
        try:
            return compute(micro_batches)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, whose traceback keeps the failed attempt's tensors alive.
        fitting.cut(halved(fitting.limits, [micro for micro, _ in micro_batches], where))
        then = f"with {fitting.describe()}; the gradient is the same, except for what dropout drops"
        if ranks.world_size() > 1:
            raise TrainingStopped(
                f"out of memory at {where}: give the same command again to go on from the last "
                f"checkpoint, if there is one, {then}"
            )
        model.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        else:
            give_back_freed_memory()
        log.info(f"out of memory at {where}: trying again {then}")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that a device, or this machine, has no memory left."""
    # A bare RuntimeError on CPU, and where one of CUDA's libraries gets no memory of its own.
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error) for sign in _OUT_OF_MEMORY
    )


def halved(limits: Limits, micro_batches: Sequence[Sequence[Any]], where: str) -> Limits:
    """Return limits that split the largest of the micro-batches in two, or an example's logits.

    Args:
        limits: The limits they were split by.
        micro_batches: Those that did not fit.
        where: The step they belong to, for the message.

    Raises:
        TrainingStopped: If each of them is a single example and its logits are few.
    """
    several = [micro for micro in micro_batches if len(micro) > 1]
    if not several:
        most = max(supervised_count([example]) for micro in micro_batches for example in micro)
        supervised = min(limits.max_supervised_tokens, most)
        if supervised > _FEW_LOGITS and ranks.sharding() is None:
            return replace(limits, max_supervised_tokens=(supervised + 1) // 2)
        longest = max(len(example.ids) for micro in micro_batches for example in micro)
        raise TrainingStopped(
            f"out of memory at {where} with one example of {longest} tokens at a time; the last "
            "checkpoint, if there is one, is intact. Set train.gradient_checkpointing=true, lower "
            "train.max_length or train.logits_chunk_bytes, or train an adapter (adapter.r=8, "
            "model.load_in_4bit=true)"
        )
    examples = max(map(len, several))
    tokens = max(map(limits.tokens_of, several))
    return replace(
        limits,
        max_examples=min(limits.max_examples, (examples + 1) // 2),
        max_tokens=(tokens + 1) // 2,
    )
