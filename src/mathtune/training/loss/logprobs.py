"""Log-probability of each target, with its gradient: for objectives that weigh tokens or texts.

As in ``cross_entropy.py`` the gradient is written over the logits, a few rows at a time, and as in
``supervised.py`` logits exist only for some targets at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from mathtune.training.batching.micro_batches import MicroBatch
from mathtune.training.loss.cross_entropy import row_chunks
from mathtune.training.loss.lm_head import logits_of, target_hidden, target_logits


class TargetLogprobs(NamedTuple):
    """What a model thinks of N targets, in nats, float32.

    Attributes:
        logprobs_N: Log-probability at the temperature; the only one with a gradient.
        entropy_N: Entropy of the distribution it is from.
        plain_N: Log-probability at temperature 1.
    """

    logprobs_N: torch.Tensor
    entropy_N: torch.Tensor
    plain_N: torch.Tensor


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logprobs_N, entropy_N, plain_N, sums_N = (
            torch.empty(len(logits_NV), device=logits_NV.device) for _ in range(4)
        )
        for rows in row_chunks(logits_NV):
            own_NV, chosen_N1 = logits_NV[rows].float(), targets_N[rows, None]
            plain_N[rows] = own_NV.gather(1, chosen_N1)[:, 0] - own_NV.logsumexp(-1)
            if temperature != 1:
                own_NV = own_NV / temperature
            sums_N[rows] = own_NV.logsumexp(-1)
            logprobs_N[rows] = own_NV.gather(1, chosen_N1)[:, 0] - sums_N[rows]
            entropy_N[rows] = torch.special.entr(own_NV.softmax(-1)).sum(-1)
        ctx.save_for_backward(logits_NV, targets_N, sums_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_N, plain_N)
        return logprobs_N, entropy_N, plain_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_N: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        logits_NV, targets_N, sums_N = ctx.saved_tensors
        for rows in row_chunks(logits_NV):
            # d log p(target) / d logits = (one-hot - p) / temperature
            scaled_NV = logits_NV[rows].float() / ctx.temperature
            gradient_NV = (scaled_NV - sums_N[rows, None]).exp_().mul_(-grad_N[rows, None])
            gradient_NV.scatter_add_(1, targets_N[rows, None], grad_N[rows, None])
            torch.div(gradient_NV, ctx.temperature, out=gradient_NV)
            logits_NV[rows] = gradient_NV.to(logits_NV.dtype)
        return logits_NV, None, None


def target_logprobs(
    model: torch.nn.Module,
    batch: MicroBatch,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> TargetLogprobs:
    """Return the log-probabilities of a batch's N targets, in its order.

    Args:
        model: A causal language model, which may be wrapped for DDP.
        batch: Its N targets.
        temperature: Logits are divided by it.
        chunk: If N is larger, logits exist only for this many targets at a time, and are recomputed
            in the backward pass.
    """
    if chunk is None or len(batch.targets_N) <= chunk:
        logits_NV = target_logits(model, batch)
        return TargetLogprobs(*_Logprobs.apply(logits_NV, batch.targets_N, temperature))

    def piece(hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> Any:
        return _Logprobs.apply(logits_of(model, hidden_ND), targets_N, temperature)

    pieces = zip(
        target_hidden(model, batch).split(chunk), batch.targets_N.split(chunk), strict=True
    )
    parts = [checkpoint(piece, *each, use_reentrant=False) for each in pieces]
    return TargetLogprobs(*(torch.cat(each) for each in zip(*parts, strict=True)))
