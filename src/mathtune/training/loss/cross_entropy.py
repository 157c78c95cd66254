"""Cross-entropy that turns the logits into their own gradient, in place.

PyTorch's holds four tensors of tokens × vocabulary: the logits, a float32 copy, its log-softmax and
the gradient. Here there are only the logits: the forward pass reads them, the backward pass
overwrites them. Rows are processed a few at a time, so that they stay in the processor's cache and
half-precision logits are float32 only for those few.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

# Elements processed at once: 1 MB of float32 stays in a CPU's cache; a GPU needs few, large
# kernels.
_CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor, label_smoothing: float
    ) -> torch.Tensor:
        sums_N = torch.empty(len(logits_NV), device=logits_NV.device)
        total = torch.zeros((), device=logits_NV.device)
        for rows in row_chunks(logits_NV):
            own_NV = logits_NV[rows].float()
            sums_N[rows] = own_NV.logsumexp(-1)
            loss_N = sums_N[rows] - own_NV.gather(1, targets_N[rows, None])[:, 0]
            if label_smoothing:
                mean_N = sums_N[rows] - own_NV.mean(-1)
                loss_N = (1 - label_smoothing) * loss_N + label_smoothing * mean_N
            total += loss_N.sum()
        ctx.save_for_backward(logits_NV, targets_N, sums_N)
        ctx.label_smoothing = label_smoothing
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits_NV, targets_N, sums_N = ctx.saved_tensors
        vocabulary = logits_NV.shape[1]
        for rows in row_chunks(logits_NV):
            own_NV = logits_NV[rows]
            probabilities_NV = torch.sub(
                own_NV, sums_N[rows, None], out=own_NV if own_NV.dtype == torch.float32 else None
            ).exp_()
            if ctx.label_smoothing:
                probabilities_NV -= ctx.label_smoothing / vocabulary
            minus_one_N1 = torch.full_like(sums_N[rows, None], ctx.label_smoothing - 1)
            probabilities_NV.scatter_add_(1, targets_N[rows, None], minus_one_N1)
            torch.mul(probabilities_NV, grad, out=own_NV)
        return logits_NV, None, None


def summed_cross_entropy(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the summed cross-entropy in nats, a float32 scalar.

    Its gradient is written over the logits, which nothing may use after the backward pass.

    Args:
        logits_NV: Of any floating-point type; the arithmetic is float32.
        targets_N: Token ids.
        label_smoothing: Share of each target spread over the vocabulary (Szegedy et al.
            2016), as in ``torch.nn.functional.cross_entropy``.
    """
    loss: torch.Tensor = _SummedCrossEntropy.apply(logits_NV, targets_N, label_smoothing)
    return loss


def row_chunks(logits_NV: torch.Tensor) -> Iterable[slice]:
    """Return the rows of logits a few at a time, as they are processed."""
    rows, vocabulary = logits_NV.shape
    step = max(1, _CHUNK_ELEMENTS.get(logits_NV.device.type, 2**24) // vocabulary)
    return [slice(start, start + step) for start in range(0, rows, step)]
