"""The one place that registers mathtune's attention functions with Transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AttentionInterface, PretrainedConfig
from transformers.masking_utils import AttentionMaskInterface


def register(
    name: str, attention: Callable[..., Any], mask: Callable[..., Any] | None = None
) -> None:
    """Register an attention function, and how its mask is made, with Transformers as ``name``.

    Without ``mask`` a model makes no mask for it.
    """
    AttentionInterface.register(name, attention)
    if mask is not None:
        AttentionMaskInterface.register(name, mask)


@contextmanager
def attention_implementation(config: PretrainedConfig, name: str) -> Iterator[None]:
    """In the block, models of ``config`` and its sub-configurations use attention ``name``."""
    before = {"": config._attn_implementation}
    for part in config.sub_configs:
        if getattr(config, part, None) is not None:
            before[part] = getattr(config, part)._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before
