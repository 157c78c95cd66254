"""Several examples in one row, none of which sees another: nothing is spent on padding.

Positions in a row restart with each example, and attention runs over each example separately. On
CPUs that is one call of PyTorch's kernel per example; on GPUs with 16-bit dtypes one call of its
variable-length kernel, or of flash-attn's, where the recipe asks for that.

Whether it is exact depends on the architecture: some carry a state along the row (Mamba, short
convolutions), some change attention in their own way. So ``limits.py`` tests it on two examples
before training, and a model that mixes them is trained on padded rows instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F

from mathtune.attention.kernels import attention, bias_of
from mathtune.attention.registration import attention_implementation, register
from mathtune.config.schema import Recipe
from mathtune.training.batching.micro_batches import Limits

_NAME = "mathtune_padding_free"

# Arguments with which an architecture changes attention in ways not supported here.
_UNSUPPORTED = ("s_aux", "sinks", "position_bias", "head_mask", "indices", "block_indices")


class _CannotPack(ValueError):
    """The message says why."""


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Tokens of each example in a row, opaque to torch.compile.

    For a bare tuple it would compile a version per number of examples, and stop after the eighth.
    """

    tokens: tuple[int, ...]


@torch.compiler.disable  # else compiled again for each number of examples
def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    example_lengths: RowLengths | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each example: ``(B, H, T, D)`` to ``(B, T, H, D)``.

    Keys and values may have fewer heads, of which H is a multiple. T is the sum of the lengths of
    the examples in the row; without lengths each of B rows is an example.
    """
    lengths = example_lengths.tokens if example_lengths else (query.shape[2],)
    changed = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if attention_mask is not None:
        changed.append("a mask of its own")
    if softcap is not None and (dropout or getattr(module, "attention_dropout", 0.0)):
        changed.append("softcap with dropout")
    if changed:
        raise _CannotPack(f"its attention uses {', '.join(changed)}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):  # rotary embedding left them in float32
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    plain = softcap is None and not dropout and query.shape[-1] == value.shape[-1]
    kernel = varying_lengths_kernel()
    if kernel and example_lengths and plain and query.is_cuda and query.dtype.itemsize == 2:
        return _varying_lengths(kernel, query, key, value, scaling, sliding_window, **kwargs), None
    outs = []
    split = (all_.split(lengths, 2) for all_ in (query, key, value))
    for q, k, v in zip(*split, strict=True):
        bias = _window_bias(q, sliding_window)
        if softcap is not None:
            out, _ = attention(
                q, k, v, scaling=scaling, softcap=softcap, bias=bias, causal=bias is None
            )
        else:
            out = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None if bias is None else bias.to(query.dtype),
                dropout_p=dropout,
                is_causal=bias is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        outs.append(out.transpose(1, 2))
    return torch.cat(outs, dim=1), None


@cache
def varying_lengths_kernel() -> Callable[..., torch.Tensor] | None:
    """Return PyTorch's kernel for whole rows, or None before PyTorch 2.11, which has no windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size"} <= known.keys() else None


def _varying_lengths(
    kernel: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    sliding_window: int | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **_: Any,
) -> torch.Tensor:
    """Attend within each example in one call: ``(1, H, T, D)`` to ``(1, T, H, D)``."""
    grouped = {}
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in inspect.signature(kernel).parameters:
            grouped = {"enable_gqa": True}
        else:  # PyTorch 2.11 documents as many keys as queries only
            share = query.shape[1] // key.shape[1]
            key, value = (all_.repeat_interleave(share, 1) for all_ in (key, value))
    out_THD = kernel(
        *(all_[0].transpose(0, 1) for all_ in (query, key, value)),
        cu_seq_q=cu_seq_lens_q,
        cu_seq_k=cu_seq_lens_q,
        max_q=max_length_q,
        max_k=max_length_q,
        scale=scaling,
        # Keys before and after a query; none after it is causal attention.
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        **grouped,
    )
    return out_THD[None]


def _window_bias(query: torch.Tensor, window: int | None) -> torch.Tensor | None:
    """Return 0 where a query sees a key, else minus infinity; None where the window hides none."""
    tokens = query.shape[2]
    if window is None or tokens <= window:
        return None
    visible = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    return bias_of(visible.triu(1 - window))


register(_NAME, _attention)


def _is_flash(implementation: str) -> bool:
    return implementation.startswith("flash_attention")


def is_asked(recipe: Recipe) -> bool:
    """Return whether a recipe lets examples share rows; the attention kernel may prevent it."""
    kernel = recipe.model.attn_implementation
    return recipe.train.padding_free and (kernel in (None, "sdpa") or _is_flash(kernel))


@contextmanager
def attention_within_examples(model: Any) -> Iterator[None]:
    """Let a model attend within the examples of a row, in forward and in backward passes."""
    config = model.config.get_text_config()
    kept = _is_flash(config._attn_implementation)
    with nullcontext() if kept else attention_implementation(config, _NAME):
        yield


def attention_for(model: Any, limits: Limits) -> AbstractContextManager[None]:
    """Return the context in which a model reads micro-batches made within these limits."""
    return attention_within_examples(model) if limits.padding_free else nullcontext()


def row_arguments(model: Any, lengths: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    """Return what the model's forward pass needs to know about the examples in its row."""
    positions = torch.cat([torch.arange(length, device=device) for length in lengths])
    ends = torch.tensor((0, *accumulate(lengths)), dtype=torch.int32, device=device)
    arguments: dict[str, Any] = {
        "position_ids": positions[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
    if _is_flash(model.config.get_text_config()._attn_implementation):
        return arguments
    return arguments | {"example_lengths": RowLengths(lengths)}
