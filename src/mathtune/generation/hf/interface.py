"""Puts the packed attention into a model through Transformers' attention and mask interfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import causal_mask_function

from mathtune.attention.registration import attention_implementation, register
from mathtune.generation.hf.kv import PackedKV
from mathtune.generation.hf.step import PackedMask

_NAME = "mathtune_packed"

# Arguments by which an architecture changes attention in ways not supported here.
_UNSUPPORTED = ("s_aux", "position_bias", "head_mask")

_active: ContextVar[PackedKV | None] = ContextVar("mathtune_packed_kv", default=None)


class UnsupportedModel(Exception):
    """The packed path cannot compute this model; the message says why."""


def _attention(
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
        raise UnsupportedModel("its layers do not run in the thread of the forward pass")
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


def _mask(*, mask_function: Callable[..., Tensor], **kwargs: Any) -> PackedMask:
    cache = _active.get()
    if cache is None:
        raise UnsupportedModel("its masks are not made in the thread of the forward pass")
    if kwargs.get("use_vmap"):
        raise UnsupportedModel("it changes the causal mask in its own way")
    return cache.mask(mask_function)


register(_NAME, _attention, _mask)


@contextmanager
def packed_attention(model: PreTrainedModel, cache: PackedKV) -> Iterator[None]:
    """Within the block, let ``model`` store and attend through ``cache``."""
    token = _active.set(cache)
    try:
        with attention_implementation(model.config, _NAME):
            yield
    finally:
        _active.reset(token)
