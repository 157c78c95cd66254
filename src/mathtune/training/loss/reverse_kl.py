"""Reverse KL divergence of a model from its teacher, exact over the vocabulary.

As in ``logprobs.py`` the gradient is written over the logits, a few rows at a time, and logits
exist only for some positions at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from mathtune.training.batching.micro_batches import MicroBatch
from mathtune.training.loss.cross_entropy import row_chunks
from mathtune.training.loss.lm_head import logits_of, target_hidden


class ReverseKL(NamedTuple):
    """How far a model is from its teacher at N positions, in nats, float32.

    Attributes:
        divergence_N: KL(model ‖ teacher); the only one with a gradient.
        entropy_N: Entropy of the model's distribution.
    """

    divergence_N: torch.Tensor
    entropy_N: torch.Tensor


class _ReverseKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, teacher_NV: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        divergence_N, entropy_N = (
            torch.empty(len(logits_NV), device=logits_NV.device) for _ in range(2)
        )
        for rows in row_chunks(logits_NV):
            own_NV, away_NV = _distributions(logits_NV[rows], teacher_NV[rows])
            probabilities_NV = own_NV.exp()
            divergence_N[rows] = (probabilities_NV * away_NV).sum(-1)
            entropy_N[rows] = -(probabilities_NV * own_NV).sum(-1)
        ctx.save_for_backward(logits_NV, teacher_NV, divergence_N)
        ctx.mark_non_differentiable(entropy_N)
        return divergence_N, entropy_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_NV, teacher_NV, divergence_N = ctx.saved_tensors
        for rows in row_chunks(logits_NV):
            own_NV, away_NV = _distributions(logits_NV[rows], teacher_NV[rows])
            # d KL / d logit = p * (log p - log q - KL); the terms of d log p sum to 0.
            gradient_NV = away_NV.sub_(divergence_N[rows, None]).mul_(own_NV.exp_())
            gradient_NV.mul_(grad_N[rows, None])
            width = gradient_NV.shape[1]
            logits_NV[rows, :width] = gradient_NV.to(logits_NV.dtype)
            logits_NV[rows, width:] = 0
        return logits_NV, None


def _distributions(
    logits_NV: torch.Tensor, teacher_NV: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the model's log-probabilities, and by how much they exceed the teacher's.

    Models with one tokenizer may pad their vocabularies to different sizes; what is beyond the
    smaller one stands for no token.
    """
    width = min(logits_NV.shape[1], teacher_NV.shape[1])
    own_NV = logits_NV[:, :width].float().log_softmax(-1)
    return own_NV, own_NV - teacher_NV[:, :width].float().log_softmax(-1)


def reverse_kl(
    model: torch.nn.Module,
    batch: MicroBatch,
    teacher: torch.nn.Module,
    chunk: int,
) -> ReverseKL:
    """Return the divergence at each of a batch's N targets, in its order.

    Args:
        model: A causal language model, which may be wrapped for DDP.
        batch: Its N targets, in a layout that both models read.
        teacher: The other model, which gets no gradient.
        chunk: If N is larger, logits exist only for this many positions at a time, and are
            recomputed in the backward pass.
    """
    with torch.no_grad():
        taught_ND = target_hidden(teacher, batch)

    def piece(hidden_ND: torch.Tensor, taught_ND: torch.Tensor) -> Any:
        with torch.no_grad():
            teacher_NV = logits_of(teacher, taught_ND)
        return _ReverseKL.apply(logits_of(model, hidden_ND), teacher_NV)

    pieces = list(
        zip(target_hidden(model, batch).split(chunk), taught_ND.split(chunk), strict=True)
    )
    if len(pieces) == 1:
        return ReverseKL(*piece(*pieces[0]))
    parts = [checkpoint(piece, *each, use_reentrant=False) for each in pieces]
    return ReverseKL(*(torch.cat(each) for each in zip(*parts, strict=True)))
