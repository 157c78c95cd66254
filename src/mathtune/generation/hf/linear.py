"""float32 linear layers through oneDNN while a model decodes on an x86 CPU.

PyTorch hands float32 products to MKL, which leaves half of the speed of AVX-512 unused on AMD
processors and repacks the weights at every call. oneDNN keeps packed weights. Measured on one core
of an AMD EPYC (Zen 5) on the layers of a 14M-parameter Llama shape, in GFLOP/s: 32 rows 58 with MKL
and 119 with oneDNN, 64 rows 74 and 162.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psutil
import torch
from torch import Tensor, nn

_PACKED_SHARE = 0.25  # of the memory available, for packed copies of weights


def _available() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and platform.machine() in ("x86_64", "AMD64")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _forward(weight: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


@contextmanager
def fast_linears(model: nn.Module, rows: int) -> Iterator[None]:
    """Compute the model's plain float32 linear layers on CPU with oneDNN inside the block.

    Weights are packed anew at every entry, since training may have changed them, as long as the copies
    fit into a quarter of the available memory; the others are used as they are. Layers of any other
    type, dtype or device are left alone.

    Args:
        model: Its ``nn.Linear`` modules get another ``forward`` until the block ends.
        rows: Rows of a typical product, for the layout of packed weights.
    """
    replaced: list[nn.Linear] = []
    budget = psutil.virtual_memory().available * _PACKED_SHARE
    try:
        for module in model.modules() if _available() else ():
            weight = getattr(module, "weight", None)
            if type(module) is not nn.Linear or "forward" in vars(module):
                continue
            if type(weight.data) is not Tensor or weight.dtype != torch.float32:
                continue
            if weight.device.type != "cpu":
                continue
            size = weight.numel() * weight.element_size()
            packed = weight.data
            if size <= budget:
                packed = torch.ops.mkldnn._reorder_linear_weight(packed, rows)
                budget -= size
            module.forward = partial(_forward, packed, module.bias)
            replaced.append(module)
        yield
    finally:
        for module in replaced:
            del module.forward
