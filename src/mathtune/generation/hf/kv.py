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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import causal_mask_function

from mathtune.attention.kernels import (
    Prefix,
    attention,
    bias_of,
    causal_attention,
    visible_attention,
)


@dataclass(frozen=True, slots=True)
class ContinuedPrompts:
    """The decoding rows sorted by the stored prompt that they continue.

    Attributes:
        order_R: The rows in that order.
        back_R: The place of each row in it.
        segments: ``(prompt, tokens, first, end)``: a prompt's name and length, and which rows, in
            that order, continue it.
    """

    order_R: Tensor
    back_R: Tensor
    segments: Sequence[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Step:
    """Which token of a packed step belongs to which row.

    Attributes:
        positions_T: Position of each token in its row's whole text, prefix included.
        rows_T: The row that stores each token; only of decoding rows where prompts are shared.
        columns_T: The token's position among those that the row stores.
        groups: The decoding rows, whose one token each comes first: ``(first, end, longest)`` of
            rows that attend together; ``longest`` is the most own tokens of one, the new one
            included.
        starts: Tokens of each row that starts in this step; they follow the decoding rows' tokens.
        new_prompts: Names of the prompts of the rows that start, which are stored for several rows;
            empty where each row stores its own.
        continued: Which decoding rows continue which stored prompt.
        is_prefix: The tokens are the shared prefix, and belong to no row.
    """

    positions_T: Tensor
    rows_T: Tensor
    columns_T: Tensor
    groups: Sequence[tuple[int, int, int]]
    starts: Sequence[int]
    new_prompts: Sequence[int] = ()
    continued: ContinuedPrompts | None = None
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class PackedMask:
    """What the tokens of a step may see, as biases to add to scores.

    Attributes:
        prefix: ``[T, P]``, or None where all see the whole prefix.
        prompts: ``[rows, tokens]`` of each continued prompt, or None where all see all of it.
        groups: ``[rows, 1, 1, longest]`` of each group of decoding rows.
        starts: ``[tokens, tokens]`` of each row that starts, or None where it is plain causal.
    """

    prefix: Tensor | None
    prompts: tuple[Tensor | None, ...]
    groups: tuple[Tensor, ...]
    starts: tuple[Tensor | None, ...]


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
            self._masks[allowed] = self._evaluate(allowed)
        return self._masks[allowed]

    def _evaluate(self, allowed: Callable[..., Tensor]) -> PackedMask:
        step = self._step
        assert step is not None
        plain = allowed is causal_mask_function
        positions = step.positions_T[:, None]
        first = 0 if step.is_prefix else self._prefix_length
        segments = step.continued.segments if step.continued else ()
        longest = max(
            first,
            *(most for _, _, most in step.groups),
            *(length for _, length, _, _ in segments),
            *step.starts,
            0,
        )
        places = torch.arange(longest, device=positions.device)
        prefix = None
        if first and not plain:
            prefix = _bias_if_needed(allowed(0, 0, positions, places[:first]))
        groups = []
        for begin, end, longest in step.groups:
            columns = step.columns_T[begin:end, None]
            seen = places[:longest] <= columns
            if not plain:
                asking = positions[begin:end]
                seen = seen & allowed(0, 0, asking, asking - columns + places[:longest])
            groups.append(bias_of(seen)[:, None, None])
        prompts: list[Tensor | None] = []
        for _, length, begin, end in segments:
            bias = None
            if not plain:
                asking = positions[step.continued.order_R[begin:end]]
                bias = _bias_if_needed(allowed(0, 0, asking, first + places[:length]))
            prompts.append(bias)
        starts: list[Tensor | None] = []
        for length in step.starts:
            own = first + places[:length]
            starts.append(None if plain else bias_of(allowed(0, 0, own[:, None], own)))
        return PackedMask(prefix, tuple(prompts), tuple(groups), tuple(starts))

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


def _bias_if_needed(seen: Tensor) -> Tensor | None:
    return None if seen.all() else bias_of(seen)


def _copy(states: Tensor) -> Tensor:
    return states.clone(memory_format=torch.contiguous_format)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return outputs ``[1, H, T, D]`` and log denominators ``[1, H, T]`` of all parts' tokens."""
    if len(parts) == 1:
        return parts[0]
    outs, sums = zip(*parts, strict=True)
    return torch.cat(outs, 2), torch.cat(sums, 2)
