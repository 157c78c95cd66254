"""Cross-entropy at supervised positions only.

The output layer is the largest matrix of a small model and its result, tokens × vocabulary, the
largest tensor of any: Gemma's 256,000 entries take 1 MB a token. Prompt tokens and padding need
none of it. A hook hands the output layer just the hidden states that predict a supervised token.
The model's own forward runs unchanged around it, so soft-capping, tied embeddings, adapters and
quantised weights are exact for every architecture, and wrappers such as DDP see a normal call.

The loss of an optimiser step is the sum over its supervised tokens divided by their count, in
whatever pieces the sum was taken: one optimiser step means one fixed set of examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from mathtune.records import Example
from mathtune.training.batches import Limits, MicroBatch, collate, cut
from mathtune.training.cross_entropy import summed_cross_entropy
from mathtune.training.padding_free import row_arguments


def target_logits(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Return logits (N, vocabulary) of the batch's N targets, in the type the model gives."""
    inner = _unwrapped(model)
    head = inner.get_output_embeddings()

    def keep_targets(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
        hidden_BTD = args[0]
        return hidden_BTD[batch.rows_N, batch.columns_N]

    ids_BT = batch.input_ids_BT
    row = row_arguments(inner, batch.lengths, ids_BT.device) if batch.lengths else {}
    hook = head.register_forward_pre_hook(keep_targets)
    try:
        logits_NV: torch.Tensor = model(input_ids=ids_BT, use_cache=False, **row).logits
    finally:
        hook.remove()
    return logits_NV


def summed_loss(
    model: torch.nn.Module, batch: MicroBatch, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the summed negative log-likelihood of the batch's targets, in nats."""
    return summed_cross_entropy(target_logits(model, batch), batch.targets_N, label_smoothing)


@torch.inference_mode()
def token_logprobs(
    model: torch.nn.Module, examples: Sequence[Example], limits: Limits
) -> Iterator[list[float]]:
    """Yield the log-probability of each token of each example, in order; 0.0 for the first token.

    The result of an example does not depend on which others are in its batch, beyond rounding.
    """
    device = next(model.parameters()).device
    results: dict[int, list[float]] = {}
    positions = {id(example): index for index, example in enumerate(examples)}
    was_training = model.training
    model.eval()
    try:
        for micro in cut(examples, limits):
            batch = collate(micro, every_token=True).to(device)
            logprobs_NV = target_logits(model, batch).float().log_softmax(dim=-1)
            chosen_N = logprobs_NV.gather(1, batch.targets_N[:, None])[:, 0].tolist()
            start = 0
            for example in micro:
                end = start + len(example.ids) - 1
                results[positions[id(example)]] = [0.0, *chosen_N[start:end]]
                start = end
    finally:
        model.train(was_training)
    for index in range(len(examples)):
        yield results[index]


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the Transformers or PEFT model inside a distributed wrapper."""
    while hasattr(model, "module"):
        model = model.module
    return model
