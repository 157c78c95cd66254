"""The fast path: one packed forward pass per step for all rows that decode and all that start."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import count, groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mathtune.attention.onednn_linear import FastLinears
from mathtune.generation.hf.interface import packed_attention
from mathtune.generation.hf.kv import PackedKV
from mathtune.generation.hf.step import ContinuedPrompts, Step

GROUP_ROWS = {"cpu": 16}
"""Decoding rows attended together, padded to the longest of them; all if not given."""


def unwrap(model: Any) -> PreTrainedModel:
    """Return the Transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class PackedForward:
    """Computes next-token logits of rows over one shared prefix.

    Rows ``0..n-1`` are in use, those with more tokens first as far as that is cheap; row ``rows``
    is a spare, in which the engine keeps the prompt of a problem whose samples have not all
    started. Where several samples of each prompt are made, a prompt is stored once, and its rows
    hold only what they wrote themselves.
    """

    def __init__(self, model: Any, linears: FastLinears, prefix: Sequence[int]) -> None:
        self._model = model
        self._linears = linears
        self._base = unwrap(model)
        self._device = next(model.parameters()).device
        self._keeps = "logits_to_keep" in inspect.signature(self._base.forward).parameters
        self._prefix = len(prefix)
        self._lengths: list[int] = []  # tokens that each row stores
        self._shares = False
        self._prompts: list[tuple[int, int]] = []  # name and length of what each row continues
        self._names = count(1)
        self._group = GROUP_ROWS.get(self._device.type)
        self._cache = PackedKV()
        if prefix:
            at = torch.arange(len(prefix), device=self._device)
            step = Step(at, at, at, groups=(), starts=(len(prefix),), is_prefix=True)
            self._forward(prefix, step, [len(prefix) - 1])

    def bytes_per_token(self) -> int:
        """Return the bytes that one token's keys and values take; 0 if there is no prefix."""
        return self._cache.bytes_per_token()

    def reserve(self, rows: int, capacity: int, *, share_prompts: bool = False) -> None:
        """Set the number of rows and how many tokens one stores.

        Args:
            rows: Most rows at once.
            capacity: Most tokens after the prefix, or after the prompt where prompts are shared.
            share_prompts: Store a prompt once for the rows that are copied from its first one.
        """
        self._cache.reserve(rows + 1, capacity)
        self._lengths = [0] * (rows + 1)
        self._shares = share_prompts
        self._prompts = [(0, 0)] * (rows + 1)

    def step(self, decode: Sequence[int], start: Sequence[Sequence[int]]) -> Tensor:
        """Feed one token to each row in use and a whole prompt to each row that starts.

        Args:
            decode: The last token of each row in use.
            start: Ids after the prefix of the prompts of the next rows, none empty.

        Returns:
            Logits ``[len(decode) + len(start), vocabulary]`` for the next tokens.
        """
        running, lengths = len(decode), self._lengths
        rows, columns = list(range(running)), lengths[:running]
        positions = [
            self._prefix + self._prompts[row][1] + column
            for row, column in zip(rows, columns, strict=True)
        ]
        last = list(range(running))
        for row in range(running):
            lengths[row] += 1
        continued = self._continued(running) if self._shares and running else None
        tokens = list(decode)
        for row, ids in enumerate(start, running):
            tokens += ids
            positions += range(self._prefix, self._prefix + len(ids))
            last.append(len(tokens) - 1)
            if self._shares:
                self._prompts[row], lengths[row] = (next(self._names), len(ids)), 0
            else:
                rows += [row] * len(ids)
                columns += range(len(ids))
                lengths[row] = len(ids)
        size = self._group or max(running, 1)
        groups = [
            (first, end, max(lengths[first:end]))
            for first in range(0, running, size)
            for end in [min(first + size, running)]
        ]
        used = self._prompts[: running + len(start)]
        if start and self._shares:
            self._cache.keep_prompts({name for name, _ in (*used, self._prompts[-1])})
        step = Step(
            positions_T=self._tensor(positions),
            rows_T=self._tensor(rows),
            columns_T=self._tensor(columns),
            groups=groups,
            starts=[len(ids) for ids in start],
            new_prompts=[name for name, _ in used[running:]] if self._shares else (),
            continued=continued,
        )
        return self._forward(tokens, step, last)

    def _continued(self, running: int) -> ContinuedPrompts:
        """Return which of the first rows continue which prompt."""
        order = sorted(range(running), key=self._prompts.__getitem__)
        segments = []
        first = 0
        for (name, length), rows in groupby(order, self._prompts.__getitem__):
            end = first + sum(1 for _ in rows)
            segments.append((name, length, first, end))
            first = end
        order_R = self._tensor(order)
        return ContinuedPrompts(order_R, order_R.argsort(), segments)

    def copy_row(self, source: int, target: int) -> None:
        """Make row ``target`` equal to row ``source``."""
        self._lengths[target] = self._lengths[source]
        self._prompts[target] = self._prompts[source]
        self._cache.copy_row(source, target, self._lengths[source])

    def remove(self, row: int, used: int) -> list[tuple[int, int]]:
        """Free one of ``used`` rows; return the moves ``(source, target)`` that close the gap.

        Moving the last row into the gap would mix short rows among long ones, and short rows are
        padded to the longest of their group. So each later group gives its longest row to the one
        before it, and only the last group gives its last row.
        """
        moves = []
        last, size = used - 1, self._group or used
        while row // size < last // size:
            first = (row // size + 1) * size
            group = range(first, min(first + size, last + 1))
            longest = max(group, key=self._lengths.__getitem__)
            moves.append((longest, row))
            row = longest
        if row != last:
            moves.append((last, row))
        for source, target in moves:
            self.copy_row(source, target)
        return moves

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _forward(self, tokens: Sequence[int], step: Step, last: Sequence[int]) -> Tensor:
        keep = self._tensor(last)
        self._cache.begin(step)
        with self._linears, packed_attention(self._base, self._cache):
            logits = self._model(
                input_ids=self._tensor(tokens)[None],
                position_ids=step.positions_T[None],
                past_key_values=self._cache,
                use_cache=True,
                **({"logits_to_keep": keep} if self._keeps else {}),
            ).logits[0]
        return logits if self._keeps else logits[keep]
