"""Cross-entropy at supervised positions only.

The output layer is the largest matrix of a small model and its result, tokens × vocabulary, the
largest tensor of any: Gemma's 256,000 entries take 1 MB per token. Prompt tokens and padding need
none of it, so the output layer gets only the hidden states that predict a supervised token
(``lm_head.py``), at most ``chunk`` at a time.

The loss of an optimiser step is the sum over its supervised tokens divided by their count, however
the sum was split: one optimiser step means one fixed set of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch.utils.checkpoint import checkpoint

from mathtune.training.batching.micro_batches import Limits, MicroBatch, Tokens, collate, cut
from mathtune.training.loss.cross_entropy import summed_cross_entropy
from mathtune.training.loss.lm_head import logits_of, target_hidden, target_logits


def summed_loss(
    model: torch.nn.Module,
    batch: MicroBatch,
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> torch.Tensor:
    """Return the summed negative log-likelihood of the batch's targets, in nats.

    Args:
        model: A causal language model, which may be wrapped for DDP.
        batch: Its N targets.
        label_smoothing: As in ``summed_cross_entropy``.
        chunk: If N is larger, logits exist only for this many targets at a time, and are recomputed
            in the backward pass.
    """
    if chunk is None or len(batch.targets_N) <= chunk:
        logits_NV = target_logits(model, batch)
        return summed_cross_entropy(logits_NV, batch.targets_N, label_smoothing)

    def loss_of(hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        return summed_cross_entropy(logits_of(model, hidden_ND), targets_N, label_smoothing)

    pieces = zip(
        target_hidden(model, batch).split(chunk), batch.targets_N.split(chunk), strict=True
    )
    losses = [checkpoint(loss_of, *piece, use_reentrant=False) for piece in pieces]
    return torch.stack(losses).sum()


@torch.inference_mode()
def token_logprobs(
    model: torch.nn.Module,
    examples: Sequence[Tokens],
    limits: Limits,
    on_scored: Callable[[int], None] = lambda done: None,
    temperature: float = 1.0,
) -> Iterator[list[float]]:
    """Yield the log-probability of each token of each example, in order; 0.0 for the first token.

    ``on_scored`` is called after each micro-batch with the number of examples done. Logits are
    divided by ``temperature``.

    The result of an example does not depend on which others are in its batch, beyond rounding.
    """
    device = next(model.parameters()).device
    results: dict[int, list[float]] = {}
    positions = {id(example): index for index, example in enumerate(examples)}
    was_training = model.training
    model.eval()
    try:
        for micro in cut(examples, replace(limits, padding_free=False)):
            batch = collate(micro, every_token=True).to(device)
            chosen: list[float] = []
            pieces = zip(
                target_hidden(model, batch).split(limits.max_supervised_tokens),
                batch.targets_N.split(limits.max_supervised_tokens),
                strict=True,
            )
            for hidden_ND, targets_N in pieces:
                logprobs_NV = (logits_of(model, hidden_ND).float() / temperature).log_softmax(-1)
                chosen += logprobs_NV.gather(1, targets_N[:, None])[:, 0].tolist()
            start = 0
            for example in micro:
                end = start + len(example.ids) - 1
                results[positions[id(example)]] = [0.0, *chosen[start:end]]
                start = end
            on_scored(len(results))
    finally:
        model.train(was_training)
    for index in range(len(examples)):
        yield results[index]
