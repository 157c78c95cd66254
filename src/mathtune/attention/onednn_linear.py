"""float32 products through oneDNN while a model decodes on an x86 CPU.

PyTorch hands float32 products to MKL, which leaves half of the speed of AVX-512 unused on AMD
processors and packs the weights again at every call. oneDNN keeps packed weights. Measured on one
core of an AMD EPYC (Zen 5) on the layers of a 14M-parameter Llama shape, in GFLOP/s: 32 rows 58
with MKL and 119 with oneDNN, 64 rows 74 and 162.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

_PACKED_SHARE = 0.25  # of the memory available, for packed copies of weights

_TYPICAL_ROWS = 64  # of a product, for the layout of packed weights

_HAS_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and platform.machine() in ("x86_64", "AMD64")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)

# The overload itself: looking it up costs as much as a small product.
_onednn = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None


def onednn_available(tensor: Tensor) -> bool:
    """Return whether products of a tensor go through oneDNN: plain float32 on an x86 CPU."""
    return (
        _HAS_ONEDNN
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and type(tensor) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
    )


def pack(weight: Tensor, rows: int) -> Tensor:
    """Return a copy of a weight ``[out, in]`` laid out for products with ``rows`` rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``states @ weight.T + bias``; the weight may be packed or not."""
    assert _onednn is not None  # the caller checked ``onednn_available``
    return _onednn(states, weight, bias, "none", [], "")


@contextmanager
def without_mixed_precision(model: Any) -> Iterator[None]:
    """Call a model on CPU as it was loaded, also while accelerate trains it in bf16.

    accelerate replaces the forward of a model in training by one under autocast, which casts all
    weights at every call, and under which neither packed weights nor oneDNN's products in float32
    work. Evaluation after training does not have it either.
    """
    wrapped, original = vars(model).get("forward"), vars(model).get("_original_forward")
    if original is None or next(model.parameters()).device.type != "cpu":
        yield
        return
    model.forward = original
    try:
        yield
    finally:
        model.forward = wrapped


class FastLinears:
    """A block in which a model's plain float32 linear layers on CPU go through oneDNN.

    Weights are packed once, as long as the copies fit into a quarter of the memory available; the
    others are used as they are. Make a new one when weights have changed. Layers of any other type,
    dtype or device are left alone, and so is everything outside the block.
    """

    def __init__(self, model: nn.Module) -> None:
        self._forwards: list[tuple[nn.Linear, Callable[[Tensor], Tensor]]] = []
        budget = psutil.virtual_memory().available * _PACKED_SHARE
        for module in model.modules():
            if type(module) is not nn.Linear or "forward" in vars(module):
                continue
            if not onednn_available(module.weight):
                continue
            weight = module.weight.detach()
            size = weight.numel() * weight.element_size()
            if size <= budget:
                weight = pack(weight, _TYPICAL_ROWS)
                budget -= size
            self._forwards.append((module, partial(linear, weight=weight, bias=module.bias)))

    def __enter__(self) -> None:
        for module, forward in self._forwards:
            module.forward = forward

    def __exit__(self, *exception: object) -> None:
        for module, _ in self._forwards:
            del module.forward
