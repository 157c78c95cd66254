"""Keys and values of one shared prefix, of prompts with several samples, and of many rows.

All tokens of a step, from rows that decode and from rows that start, are packed into one sequence
of T tokens, so a model's matrix products see no padding. Attention is the only place that must know
which token belongs to which row. A prompt with several samples is stored once, and each of its rows
holds only what it wrote itself.

Dimensions: T tokens of a step, R rows, C capacity of a row, P prefix tokens, H query heads, G
key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from mathtune.attention.kernels import Prefix, attention, causal_attention, visible_attention
from mathtune.generation.hf.step import PackedMask, Step, mask_of


class LayerKV:
    """One layer's prefix, stored prompts and rows.

    ``prompts`` are ``[1, G, tokens, D]`` by name, ``rows`` are ``[R + 1, C, G, D]``, the last row a
    spare: a token's heads lie together, which writes fewer pages than each head by itself.
    """

    def __init__(self) -> None:
        self.prefix: Prefix | None = None
        self.prompts: dict[int, tuple[Tensor, Tensor]] = {}
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
        stored = len(self._step.rows_T)
        slots = self._step.rows_T * self._size[1] + self._step.columns_T
        for store, states in zip(layer.rows, (key_states, value_states), strict=True):
            _, heads, _, size = states.shape
            own = states[0, :, :stored].transpose(0, 1).reshape(stored, heads * size)
            store.view(-1, heads * size).index_copy_(0, slots, own)
        if self._step.new_prompts:
            lengths = [stored, *self._step.starts]
            parts = zip(*(x.split(lengths, 2) for x in (key_states, value_states)), strict=True)
            for name, (keys, values) in zip(self._step.new_prompts, [*parts][1:], strict=True):
                # Copies, or a view would keep the whole step's tensor in memory.
                layer.prompts[name] = (_copy(keys), _copy(values))
        return key_states, value_states

    def keep_prompts(self, names: Collection[int]) -> None:
        """Free all stored prompts but these."""
        for layer in self._layers.values():
            layer.prompts = {name: kept for name, kept in layer.prompts.items() if name in names}

    def _new_rows(self, states: Tensor) -> Tensor:
        shape = (*self._size, states.shape[1], states.shape[3])
        if states.device.type != "cpu":
            return states.new_zeros(shape)
        # NumPy leaves zeroing to the operating system, which does so only for pages in use.
        blank = np.zeros(int(np.prod(shape)) * states.element_size(), dtype=np.uint8)
        return torch.from_numpy(blank).view(states.dtype).view(shape)

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` own tokens of a row to another row."""
        for layer in self._layers.values() if length else ():
            for store in layer.rows or ():
                store[target, :length] = store[source, :length]

    def mask(self, allowed: Callable[..., Tensor]) -> PackedMask:
        """Evaluate a mask function ``(batch, head, query, key) -> bool`` for the step's tokens."""
        if allowed not in self._masks:
            assert self._step is not None
            self._masks[allowed] = mask_of(self._step, allowed, self._prefix_length)
        return self._masks[allowed]

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
                layer.rows[0][begin:end, :longest].transpose(1, 2),
                layer.rows[1][begin:end, :longest].transpose(1, 2),
                scaling=scaling,
                softcap=softcap,
                bias=bias,
            )
            parts.append((out.transpose(0, 2), lse.transpose(0, 2)))
            at = end
        if step.continued is not None and parts:
            own, own_lse = _joined(parts)
            parts = [
                self._with_prompts(query, own, own_lse, mask, scaling=scaling, softcap=softcap)
            ]
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
        own, own_lse = _joined(parts)
        if prefix is not None:
            own = prefix.merge(
                query, own, own_lse, scaling=scaling, softcap=softcap, bias=mask.prefix
            )
        return own.transpose(1, 2)

    def _with_prompts(
        self,
        query: Tensor,
        own: Tensor,
        own_lse: Tensor,
        mask: PackedMask,
        *,
        scaling: float,
        softcap: float | None,
    ) -> tuple[Tensor, Tensor]:
        """Merge attention over the stored prompts into that over the rows' own tokens.

        Each prompt is one product with the tokens of all rows that continue it as queries.
        """
        assert self._step is not None and self._step.continued is not None
        continued = self._step.continued
        sorted_query = query.index_select(2, continued.order_R)
        parts = []
        for (name, _, first, end), bias in zip(continued.segments, mask.prompts, strict=True):
            asking = sorted_query[:, :, first:end]
            keys, values = self._current.prompts[name]
            parts.append(
                visible_attention(asking, keys, values, bias, scaling=scaling, softcap=softcap)
            )
        shared, lse = (each.index_select(2, continued.back_R) for each in _joined(parts))
        weight = torch.sigmoid(lse - own_lse).unsqueeze(-1).to(own.dtype)
        return torch.lerp(own, shared, weight), torch.logaddexp(own_lse, lse)


def _copy(states: Tensor) -> Tensor:
    return states.clone(memory_format=torch.contiguous_format)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return outputs ``[1, H, T, D]`` and log denominators ``[1, H, T]`` of all parts' tokens."""
    if len(parts) == 1:
        return parts[0]
    outs, sums = zip(*parts, strict=True)
    return torch.cat(outs, 2), torch.cat(sums, 2)
