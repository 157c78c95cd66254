"""float32 linear layers through oneDNN while a model trains on an x86 CPU.

PyTorch hands float32 products to MKL, which leaves half of the speed of AVX-512 unused on AMD
processors. Measured on one core of an AMD EPYC (Zen 5) on the layers of SmolLM2-135M, 1,600 tokens,
in GFLOP/s: forward 105 with MKL and 235 with oneDNN, gradient of the input 107 and 240, of the
weight 107 and 210.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mathtune.attention.onednn_linear import linear, onednn_available

BLOCK = 8192
"""Most rows of a weight whose gradient is computed at once."""


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        ctx.save_for_backward(states_ND, weight_VD)
        return linear(states_ND, weight_VD, bias_V)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_NV: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        states_ND, weight_VD = ctx.saved_tensors
        of_states, of_weight, of_bias = ctx.needs_input_grad
        return (
            linear(grad_NV, weight_VD.t()) if of_states else None,
            _weight_gradient(grad_NV, states_ND) if of_weight else None,
            grad_NV.sum(0) if of_bias else None,
        )


def _weight_gradient(grad_NV: Tensor, states_ND: Tensor) -> Tensor:
    """Return the gradient of a weight, block by block of a large vocabulary.

    oneDNN copies a transposed factor, which for all logits at once would be their size again.
    """
    if grad_NV.shape[1] <= BLOCK:
        return linear(grad_NV.t(), states_ND.t())
    grad_VD = states_ND.new_empty(grad_NV.shape[1], states_ND.shape[1])
    for start in range(0, len(grad_VD), BLOCK):
        end = start + BLOCK
        grad_VD[start:end] = linear(grad_NV[:, start:end].t(), states_ND.t())
    return grad_VD


def _forward(module: nn.Linear, states: Tensor) -> Tensor:
    """Return what ``module`` returns, through oneDNN where its tensors allow that."""
    if not (states.numel() and onednn_available(states) and onednn_available(module.weight)):
        return nn.functional.linear(states, module.weight, module.bias)
    rows_ND = states.reshape(-1, states.shape[-1])
    out: Tensor = _Linear.apply(rows_ND, module.weight, module.bias)
    return out.view(*states.shape[:-1], -1)


@contextmanager
def onednn_linears(model: nn.Module) -> Iterator[None]:
    """Let a model's plain float32 linear layers on CPU use oneDNN, also in backward passes.

    Layers of any other type, dtype or device are left alone, and so are compiled models, whose
    compiler picks kernels itself.
    """
    modules = list(model.modules())
    compiled = any(module._compiled_call_impl is not None for module in modules)
    layers = [
        module
        for module in ([] if compiled else modules)
        if type(module) is nn.Linear
        and onednn_available(module.weight)
        and "forward" not in vars(module)
    ]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
