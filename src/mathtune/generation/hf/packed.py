"""The fast path: one packed forward pass a step for all rows that decode and all that start."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mathtune.generation.hf.kv import PackedKV, Step, UnsupportedModel, packed_attention


def unwrap(model: Any) -> PreTrainedModel:
    """Return the Transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class PackedForward:
    """Computes next-token logits of rows over one shared prefix.

    Rows are numbered 0 to ``rows - 1``; rows ``0..n-1`` decode. Row ``rows`` is a spare in which the
    engine keeps the prompt of a problem whose samples have not all started.
    """

    def __init__(self, model: Any, prefix: Sequence[int]) -> None:
        self._model = model
        self._base = unwrap(model)
        self._device = next(model.parameters()).device
        self._keeps = "logits_to_keep" in inspect.signature(self._base.forward).parameters
        self._prefix = len(prefix)
        self._lengths: list[int] = []
        self._cache = PackedKV(0, 0)
        if prefix:
            positions = torch.arange(len(prefix), device=self._device)
            step = Step(positions, None, positions[:0], 0, (len(prefix),))
            self._forward(list(prefix), step, [len(prefix) - 1])
            self._cache.prefix_length = len(prefix)

    def bytes_per_token(self) -> int:
        """Return the memory of one token's keys and values, in bytes; 0 before any were made."""
        return self._cache.bytes_per_token()

    def reserve(self, rows: int, capacity: int) -> None:
        """Set the number of rows and the most own tokens (prefix excluded) of one."""
        self._cache.rows, self._cache.capacity = rows, capacity
        self._lengths = [0] * (rows + 1)

    def step(self, decode: Sequence[int], start: Sequence[Sequence[int]]) -> Tensor:
        """Feed one token to each decoding row and a whole prompt to each row that starts.

        Args:
            decode: The last token of rows ``0..n-1``.
            start: Ids after the prefix of the prompts of rows ``n..``, none empty.

        Returns:
            Logits ``[len(decode) + len(start), vocabulary]`` for the next tokens.
        """
        capacity = self._cache.capacity
        tokens = list(decode)
        at = self._lengths[: len(decode)]  # position of each token behind the prefix
        write = [row * capacity + length for row, length in enumerate(at)]
        lengths = [length + 1 for length in at]
        last = list(range(len(decode)))
        for row, ids in enumerate(start, len(decode)):
            tokens += ids
            at += range(len(ids))
            write += range(row * capacity, row * capacity + len(ids))
            last.append(len(tokens) - 1)
        step = Step(
            positions_T=self._tensor(at) + self._prefix,
            write_T=self._tensor(write),
            lengths_R=self._tensor(lengths),
            span=max(lengths, default=0),
            starts=tuple(len(ids) for ids in start),
        )
        logits = self._forward(tokens, step, last)
        self._lengths[: len(decode)] = lengths
        for row, ids in enumerate(start, len(decode)):
            self._lengths[row] = len(ids)
        return logits

    def copy_row(self, source: int, target: int) -> None:
        """Make row ``target`` equal to row ``source``."""
        self._lengths[target] = self._lengths[source]
        self._cache.copy_row(source, target, self._lengths[source])

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _forward(self, tokens: Sequence[int], step: Step, last: Sequence[int]) -> Tensor:
        keep = self._tensor(last)
        self._cache.begin(step)
        with packed_attention(self._base, self._cache):
            logits = self._model(
                input_ids=self._tensor(tokens)[None],
                position_ids=step.positions_T[None],
                past_key_values=self._cache,
                use_cache=True,
                **({"logits_to_keep": keep} if self._keeps else {}),
            ).logits[0]
        return logits if self._keeps else logits[keep]
