"""Exact attention in two parts: over a row's own tokens, and over a prefix that all rows share.

Softmax attention over two sets of keys is the mean of the attention over each, weighted by their
softmax denominators. The first part therefore also returns the logarithm of its denominator, and
the second merges it in. The prefix is one product with the tokens of all rows as queries; its keys
and values are stored once and never copied for a row (Juravsky et al. 2024, "Hydragen").

Dimensions: B batch, T tokens, S keys, P prefix tokens, H query heads, G key-value heads, D size of
a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mathtune.attention.onednn_linear import linear, onednn_available, pack

_cpu_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


def bias_of(visible: Tensor) -> Tensor:
    """Return what to add to scores: 0 where ``visible``, else minus infinity."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -math.inf)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    softcap: float | None,
    bias: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the output and the log of the softmax denominator, ``[B, H, T, D]`` and ``[B, H, T]``.

    Args:
        query: ``[B, H, T, D]``.
        key: ``[B, G, S, D]``; H is a multiple of G.
        value: ``[B, G, S, D]``; its D may differ from that of the keys.
        scaling: Factor on the scores.
        softcap: Scores become ``softcap * tanh(score / softcap)`` where given (Gemma 2).
        bias: Added to the scores; each query must see at least one key.
        causal: Query i sees keys 0 to i.
    """
    if query.device.type == "cpu" and softcap is None and key.shape[-1] == value.shape[-1]:
        bias = None if bias is None else bias.to(query.dtype)
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


def causal_attention(query: Tensor, key: Tensor, value: Tensor, *, scaling: float) -> Tensor:
    """Return plain causal attention ``[B, H, T, D]``, with the fastest kernel available."""
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        is_causal=True,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def visible_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    *,
    scaling: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """Return what ``attention`` does, for a part of the keys of which a query may see nothing.

    Such a query's denominator is 0, so that merging takes nothing from this part.

    Args:
        query: ``[1, H, T, D]``.
        keys: ``[1, G, P, D]``.
        values: Of the same shape.
        bias: ``[T, P]``, or None where all is seen.
        scaling: Factor on the scores.
        softcap: As in ``attention``.
    """
    if bias is None:
        return attention(query, keys, values, scaling=scaling, softcap=softcap)
    blind = (bias == -math.inf).all(-1)
    bias = bias.masked_fill(blind[:, None], 0.0)
    out, lse = attention(query, keys, values, scaling=scaling, softcap=softcap, bias=bias)
    return out, lse.masked_fill(blind, -math.inf)


class Prefix:
    """Keys and values ``[1, G, P, D]`` of one layer's shared prefix."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys.contiguous(), values.contiguous()
        self._packed: list[tuple[Tensor, Tensor]] | None = None

    def merge(
        self,
        query: Tensor,
        own: Tensor,
        own_lse: Tensor,
        *,
        scaling: float,
        softcap: float | None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return attention over the prefix and the own tokens together, ``[1, H, T, D]``.

        Args:
            query: ``[1, H, T, D]``.
            own: Attention over the own tokens, ``[1, H, T, D]``.
            own_lse: Its log denominators, ``[1, H, T]``.
            scaling: Factor on the scores.
            softcap: As in ``attention``.
            bias: ``[T, P]``; a query may see nothing of the prefix.
        """
        if bias is None and softcap is None and onednn_available(query):
            return self._merge_packed(query, own, own_lse, scaling)
        shared, lse = visible_attention(
            query, self.keys, self.values, bias, scaling=scaling, softcap=softcap
        )
        return torch.lerp(own, shared, torch.sigmoid(lse - own_lse).unsqueeze(-1).to(own.dtype))

    def _merge_packed(self, query: Tensor, own: Tensor, own_lse: Tensor, scaling: float) -> Tensor:
        """Merge with oneDNN's products on packed keys and values, one key-value head at a time.

        One extra key with a zero value represents all own tokens: its score is their log
        denominator, so one softmax gives the weights of both parts.
        """
        _, heads, tokens, size = query.shape
        groups, length = self.keys.shape[1], self.keys.shape[2]
        if self._packed is None:
            keys = torch.nn.functional.pad(self.keys[0] * scaling, (0, 0, 0, 1))
            values = torch.nn.functional.pad(self.values[0].transpose(-1, -2), (0, 1))
            self._packed = [
                (pack(keys[g], tokens), pack(values[g].contiguous(), tokens)) for g in range(groups)
            ]
        queries = query.reshape(groups, -1, size)
        owns, sums = own.reshape(groups, queries.shape[1], -1), own_lse.reshape(groups, -1)
        outs = []
        for g, (keys, values) in enumerate(self._packed):
            scores = linear(queries[g], keys)
            scores[:, length] = sums[g]
            weights = torch.softmax(scores, -1)
            shared = linear(weights, values)
            outs.append(torch.addcmul(shared, owns[g], weights[:, length:]))
        return torch.stack(outs).view(1, heads, tokens, -1)
