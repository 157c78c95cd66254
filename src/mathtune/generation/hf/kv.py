"""Keys and values of one shared prefix and of many rows, and attention over both.

All tokens of a step, from rows that decode and from rows that start, are packed into one sequence of
T tokens, so a model's matrix products see no padding. Attention is the only place that must know which
token belongs to which row. It runs twice, over the prefix (one product with every token as a query;
the prefix is never copied a row) and over the row's own tokens, and the two are merged by their
log-sum-exp, which is exact. Any architecture works that takes its attention from Transformers' attention
interface; the mask is whatever function the model asks for (causal, sliding, chunked).

Dimensions: T tokens of a step, R rows, C capacity of a row, P prefix tokens, H query heads, G key-value
heads, D head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function

ATTENTION_NAME = "mathtune_packed"

# Arguments with which an architecture changes the attention itself in a way that is not done here.
_UNSUPPORTED = ("s_aux", "position_bias", "head_mask")

_cpu_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class UnsupportedModel(Exception):
    """The packed path cannot compute this model; the message says why."""


@dataclass(slots=True)
class LayerKV:
    """One layer: the prefix ``[1, G, P, D]`` and the rows ``[R + 1, G, C, D]`` (one is a spare)."""

    prefix_keys: Tensor | None = None
    prefix_values: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None


@dataclass(slots=True)
class Step:
    """Which token of a packed step belongs to which row.

    Attributes:
        positions_T: Position of each token in its row's whole text, prefix included.
        rows_T: Its row.
        columns_T: Its place among the row's own tokens.
        lengths: Own tokens of each decoding row, the new one included.
        starts: Tokens of each row that starts in this step; they follow the decoding rows' tokens.
        is_prefix: The tokens are the shared prefix, and belong to no row.
    """

    positions_T: Tensor
    rows_T: Tensor
    columns_T: Tensor
    lengths: Sequence[int]
    starts: Sequence[int]
    is_prefix: bool = False


@dataclass(slots=True)
class PackedMask:
    """What the tokens of a step may see, as biases to add to scores (None: everything)."""

    prefix: Tensor | None
    blind_T: Tensor | None  # tokens that see nothing of the prefix
    groups: tuple[tuple[int, int, Tensor], ...]  # decoding rows: first, end, bias [rows, 1, 1, span]
    starts: tuple[Tensor | None, ...]  # None: plain causal


class PackedKV(Cache):
    """A Transformers cache that stores where ``step`` says and attends over prefix and rows."""

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__(layers=[])
        self.rows, self.capacity = rows, capacity
        self.kv: dict[int, LayerKV] = {}
        self.prefix_length = 0
        self.step: Step | None = None
        self._current: LayerKV | None = None
        self._causal: PackedMask | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions are always passed explicitly."""
        return 0

    def begin(self, step: Step) -> None:
        """Set the layout of the tokens that the next forward pass brings."""
        self.step, self._causal = step, None

    def bytes_per_token(self) -> int:
        """Return the memory one token takes over all layers, in bytes."""
        stored = [t for kv in self.kv.values() for t in (kv.prefix_keys, kv.prefix_values)]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in stored if t is not None)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store ``[1, G, T, D]`` keys and values; return them as they are, for ``attend``."""
        assert self.step is not None
        kv = self._current = self.kv.setdefault(layer_idx, LayerKV())
        if self.step.write_T is None:
            kv.prefix_keys, kv.prefix_values = key_states.contiguous(), value_states.contiguous()
            return key_states, value_states
        if kv.keys is None or kv.values is None:
            kv.keys, kv.values = self._rows_like(key_states), self._rows_like(value_states)
        for store, new in ((kv.keys, key_states), (kv.values, value_states)):
            flat = new[0].transpose(0, 1).flatten(1)  # [T, G * D]
            store.view(-1, flat.shape[1]).index_copy_(0, self.step.write_T, flat)
        return key_states, value_states

    def _rows_like(self, states: Tensor) -> Tensor:
        _, heads, _, size = states.shape
        return states.new_zeros(self.rows + 1, self.capacity, heads, size)

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` own tokens of a row to another one."""
        for kv in self.kv.values():
            for store in (kv.keys, kv.values):
                assert store is not None
                store[target, :length] = store[source, :length]

    def mask(self, allowed: Callable[..., Tensor]) -> PackedMask:
        """Evaluate a mask function ``(batch, head, query, key) -> bool`` for the tokens of the step."""
        step = self.step
        assert step is not None
        if allowed is causal_mask_function and self._causal is not None:
            return self._causal
        device, positions = step.positions_T.device, step.positions_T
        plain = allowed is causal_mask_function
        first = self.prefix_length if step.write_T is not None else 0
        prefix = blind = None
        if first and not plain:
            seen = allowed(0, 0, positions[:, None], torch.arange(first, device=device)[None])
            if not seen.all():
                prefix, blind = _bias(seen), ~seen.any(-1)
        columns = torch.arange(step.span, device=device)[None]
        decoding = len(step.lengths_R)
        visible = columns < step.lengths_R[:, None]
        if not plain:
            visible = visible & allowed(0, 0, positions[:decoding, None], first + columns)
        starts: list[Tensor | None] = [None] * len(step.starts)
        if not plain:
            for i, length in enumerate(step.starts):
                own = first + torch.arange(length, device=device)
                starts[i] = _bias(allowed(0, 0, own[:, None], own[None]))
        result = PackedMask(prefix, blind, _bias(visible)[:, None, None], tuple(starts))
        if plain:
            self._causal = result
        return result

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: PackedMask, **options: Any
    ) -> Tensor:
        """Attend over prefix and own tokens: ``[1, H, T, D]`` in, ``[T, H, D]`` out."""
        kv, step = self._current, self.step
        assert kv is not None and step is not None
        decoding = len(step.lengths_R)
        outs, sums = [], []  # of the rows' own tokens: [1, H, t, D] and [1, H, t]
        if decoding:
            assert kv.keys is not None and kv.values is not None
            out, lse = _attention(
                query[0, :, :decoding].transpose(0, 1).unsqueeze(2),  # [R, H, 1, D]
                kv.keys[:decoding, : step.span].transpose(1, 2),  # [R, G, span, D]
                kv.values[:decoding, : step.span].transpose(1, 2),
                bias=mask.rows.to(query.dtype),
                **options,
            )
            outs.append(out.transpose(0, 2))
            sums.append(lse.transpose(0, 2))
        at = decoding
        for length, bias in zip(step.starts, mask.starts, strict=True):
            out, lse = _attention(
                query[:, :, at : at + length],
                key[:, :, at : at + length],
                value[:, :, at : at + length],
                bias=bias if bias is None else bias.to(query.dtype),
                causal=bias is None,
                **options,
            )
            outs.append(out)
            sums.append(lse)
            at += length
        own = outs[0] if len(outs) == 1 else torch.cat(outs, 2)
        if step.write_T is not None and kv.prefix_keys is not None:
            own_lse = sums[0] if len(sums) == 1 else torch.cat(sums, 2)
            bias = None if mask.prefix is None else mask.prefix.to(query.dtype)
            shared, lse = _attention(query, kv.prefix_keys, kv.prefix_values, bias=bias, **options)
            if mask.blind_T is not None:
                shared = shared.masked_fill(mask.blind_T[:, None], 0.0)
                lse = lse.masked_fill(mask.blind_T, -math.inf)
            # exp(lse) is each part's softmax denominator, so this is the softmax over both parts.
            weight = torch.sigmoid(lse - own_lse).unsqueeze(-1).to(own.dtype)
            own = torch.lerp(own, shared, weight)
        return own.transpose(1, 2)


def _bias(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -math.inf)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    softcap: float | None,
    bias: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the attention output ``[B, H, T, D]`` and its log-sum-exp ``[B, H, T]``."""
    same_size = key.shape[-1] == value.shape[-1]
    if query.device.type == "cpu" and softcap is None and same_size:
        return _cpu_flash(query, key, value, 0.0, causal, attn_mask=bias, scale=scaling)
    batch, heads, tokens, size = query.shape
    groups, length = key.shape[1], key.shape[2]
    # Query heads that share keys become further queries, so that keys are not repeated.
    folded = query.reshape(batch, groups, -1, size)
    scores = (folded @ key.transpose(-1, -2)).float().view(batch, heads, tokens, length) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if causal:
        ahead = torch.ones(tokens, length, dtype=torch.bool, device=key.device).triu(1)
        scores = scores.masked_fill(ahead, -math.inf)
    elif bias is not None:
        scores = scores + bias
    lse = scores.logsumexp(-1)
    weights = (scores - lse.unsqueeze(-1)).exp().to(value.dtype)
    out = weights.view(batch, groups, -1, length) @ value
    return out.view(batch, heads, tokens, -1), lse


_active: ContextVar[PackedKV | None] = ContextVar("mathtune_packed_kv", default=None)


def _packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: PackedMask | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    cache = _active.get()
    if cache is None:
        raise UnsupportedModel("its layers run outside the forward pass of the cache")
    changed = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if changed:
        raise UnsupportedModel(f"its attention uses {', '.join(changed)}")
    if attention_mask is None:
        if kwargs.get("sliding_window") is not None:
            raise UnsupportedModel("its sliding window comes without a mask")
        attention_mask = cache.mask(causal_mask_function)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = cache.attend(query, key, value, attention_mask, scaling=scaling, softcap=softcap)
    return out, None


def _packed_mask(*, mask_function: Callable[..., Tensor], **kwargs: Any) -> PackedMask:
    cache = _active.get()
    if cache is None:
        raise UnsupportedModel("its masks are made outside the forward pass of the cache")
    if kwargs.get("use_vmap"):
        raise UnsupportedModel("it changes the mask in a way only it knows")
    return cache.mask(mask_function)


AttentionInterface.register(ATTENTION_NAME, _packed_attention)
AttentionMaskInterface.register(ATTENTION_NAME, _packed_mask)


@contextmanager
def packed_attention(model: PreTrainedModel, cache: PackedKV) -> Iterator[None]:
    """Let ``model`` attend through ``cache`` inside the block."""
    config = model.config
    before = {"": config._attn_implementation}
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            before[name] = getattr(config, name)._attn_implementation
    token = _active.set(cache)
    config._attn_implementation = ATTENTION_NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _active.reset(token)
