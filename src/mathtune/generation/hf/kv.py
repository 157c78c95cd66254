"""Keys and values of one shared prefix and of many rows.

All tokens of a step, from rows that decode and from rows that start, are packed into one sequence
of T tokens, so a model's matrix products see no padding. Attention is the only place that must know
which token belongs to which row.

Dimensions: T tokens of a step, R rows, C capacity of a row, P prefix tokens, H query heads, G
key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import causal_mask_function

from mathtune.attention.kernels import Prefix, attention, bias_of, causal_attention


@dataclass(frozen=True, slots=True)
class Step:
    """Which token of a packed step belongs to which row.

    Attributes:
        positions_T: Position of each token in its row's whole text, prefix included.
        rows_T: Its row.
        columns_T: Its position among the row's own tokens.
        groups: The decoding rows, whose one token each comes first: ``(first, end, longest)`` of
            rows that attend together; ``longest`` is the most own tokens of one, the new one
            included.
        starts: Tokens of each row that starts in this step; they follow the decoding rows' tokens.
        is_prefix: The tokens are the shared prefix, and belong to no row.
    """

    positions_T: Tensor
    rows_T: Tensor
    columns_T: Tensor
    groups: Sequence[tuple[int, int, int]]
    starts: Sequence[int]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class PackedMask:
    """What the tokens of a step may see, as biases to add to scores.

    Attributes:
        prefix: ``[T, P]``, or None where all see the whole prefix.
        groups: ``[rows, 1, 1, longest]`` of each group of decoding rows.
        starts: ``[tokens, tokens]`` of each row that starts, or None where it is plain causal.
    """

    prefix: Tensor | None
    groups: tuple[Tensor, ...]
    starts: tuple[Tensor | None, ...]


class LayerKV:
    """One layer's prefix, and its rows' own tokens ``[R + 1, G, C, D]``, the last row a spare."""

    def __init__(self) -> None:
        self.prefix: Prefix | None = None
        self.rows: tuple[Tensor, Tensor] | None = None


class PackedKV(Cache):
    """A Transformers cache that stores by ``Step`` and attends over prefix and rows."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._layers: dict[int, LayerKV] = {}
        self._current = LayerKV()
        self._size = (0, 0)  # rows with the spare one, capacity
        self._prefix_length = 0
        self._step: Step | None = None
        self._slots: dict[int, Tensor] = {}
        self._masks: dict[Callable[..., Tensor], PackedMask] = {}

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions are always passed explicitly."""
        return 0

    def reserve(self, rows: int, capacity: int) -> None:
        """Set the number of rows, the spare one included, and the most own tokens of one."""
        self._size = (rows, capacity)

    def begin(self, step: Step) -> None:
        """Set the layout of the next forward pass's tokens."""
        self._step = step
        self._slots.clear()
        self._masks.clear()
        if step.is_prefix:
            self._prefix_length = len(step.positions_T)

    def bytes_per_token(self) -> int:
        """Return the memory that one token takes over all layers, in bytes."""
        prefixes = [layer.prefix for layer in self._layers.values() if layer.prefix is not None]
        stored = [tensor for prefix in prefixes for tensor in (prefix.keys, prefix.values)]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in stored)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store ``[1, G, T, D]`` keys and values; return them unchanged, for ``attend``."""
        assert self._step is not None
        layer = self._current = self._layers.setdefault(layer_idx, LayerKV())
        if self._step.is_prefix:
            layer.prefix = Prefix(key_states, value_states)
            return key_states, value_states
        if layer.rows is None:
            layer.rows = (self._new_rows(key_states), self._new_rows(value_states))
        for store, states in zip(layer.rows, (key_states, value_states), strict=True):
            _, heads, _, size = states.shape
            store.view(-1, size).index_copy_(
                0, self._slots_of(heads), states[0].transpose(0, 1).reshape(-1, size)
            )
        return key_states, value_states

    def _new_rows(self, states: Tensor) -> Tensor:
        shape = (self._size[0], states.shape[1], self._size[1], states.shape[3])
        if states.device.type != "cpu":
            return states.new_zeros(shape)
        # NumPy leaves zeroing to the operating system, which does so only for pages in use.
        blank = np.zeros(int(np.prod(shape)) * states.element_size(), dtype=np.uint8)
        return torch.from_numpy(blank).view(states.dtype).view(shape)

    def _slots_of(self, heads: int) -> Tensor:
        """Return where the tokens of the step go in ``[(R + 1) * G * C, D]``, heads innermost."""
        if heads not in self._slots:
            step, capacity = self._step, self._size[1]
            assert step is not None
            head = torch.arange(heads, device=step.rows_T.device)
            first = (step.rows_T[:, None] * heads + head) * capacity
            self._slots[heads] = (first + step.columns_T[:, None]).flatten()
        return self._slots[heads]

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` own tokens of a row to another row."""
        for layer in self._layers.values():
            for store in layer.rows or ():
                store[target, :, :length] = store[source, :, :length]

    def mask(self, allowed: Callable[..., Tensor]) -> PackedMask:
        """Evaluate a mask function ``(batch, head, query, key) -> bool`` for the step's tokens."""
        if allowed not in self._masks:
            self._masks[allowed] = self._evaluate(allowed)
        return self._masks[allowed]

    def _evaluate(self, allowed: Callable[..., Tensor]) -> PackedMask:
        step = self._step
        assert step is not None
        plain = allowed is causal_mask_function
        positions = step.positions_T[:, None]
        first = 0 if step.is_prefix else self._prefix_length
        places = torch.arange(
            max(first, *(longest for _, _, longest in step.groups), *step.starts, 0),
            device=positions.device,
        )
        prefix = None
        if first and not plain:
            seen = allowed(0, 0, positions, places[:first])
            prefix = None if seen.all() else bias_of(seen)
        groups = []
        for begin, end, longest in step.groups:
            seen = places[:longest] <= step.columns_T[begin:end, None]
            if not plain:
                seen = seen & allowed(0, 0, positions[begin:end], first + places[:longest])
            groups.append(bias_of(seen)[:, None, None])
        starts: list[Tensor | None] = []
        for length in step.starts:
            own = first + places[:length]
            starts.append(None if plain else bias_of(allowed(0, 0, own[:, None], own)))
        return PackedMask(prefix, tuple(groups), tuple(starts))

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: PackedMask,
        *,
        scaling: float,
        softcap: float | None,
    ) -> Tensor:
        """Attend over prefix and own tokens: ``[1, H, T, D]`` in, ``[1, T, H, D]`` out."""
        layer, step = self._current, self._step
        assert step is not None
        prefix = None if step.is_prefix else layer.prefix
        parts: list[tuple[Tensor, Tensor]] = []  # [1, H, t, D] and [1, H, t]
        at = 0
        for (begin, end, longest), bias in zip(step.groups, mask.groups, strict=True):
            assert layer.rows is not None
            out, lse = attention(
                query[0, :, begin:end].transpose(0, 1).unsqueeze(2),  # [rows, H, 1, D]
                layer.rows[0][begin:end, :, :longest],
                layer.rows[1][begin:end, :, :longest],
                scaling=scaling,
                softcap=softcap,
                bias=bias,
            )
            parts.append((out.transpose(0, 2), lse.transpose(0, 2)))
            at = end
        for length, own_bias in zip(step.starts, mask.starts, strict=True):
            own_tokens = [states[:, :, at : at + length] for states in (query, key, value)]
            if prefix is None and own_bias is None and softcap is None:
                out = causal_attention(*own_tokens, scaling=scaling)
                parts.append((out, out[..., 0]))  # nothing to merge, so no denominators
            else:
                parts.append(
                    attention(
                        *own_tokens,
                        scaling=scaling,
                        softcap=softcap,
                        bias=own_bias,
                        causal=own_bias is None,
                    )
                )
            at += length
        outs, sums = zip(*parts, strict=True)
        own = outs[0] if len(outs) == 1 else torch.cat(outs, 2)
        if prefix is not None:
            own_lse = sums[0] if len(sums) == 1 else torch.cat(sums, 2)
            own = prefix.merge(
                query, own, own_lse, scaling=scaling, softcap=softcap, bias=mask.prefix
            )
        return own.transpose(1, 2)
