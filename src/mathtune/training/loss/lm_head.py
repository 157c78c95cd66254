"""A causal language model's output layer, separate from the layers below it.

Models differ around their output layer: Gemma 2 soft-caps the logits, Granite and Cohere scale
them, adapters may be on it. So none of this is reimplemented here. Hooks hand the output layer
other hidden states, and where only logits are wanted the layers below are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from mathtune.training.batching.micro_batches import MicroBatch
from mathtune.training.batching.padding_free import row_arguments


def target_logits(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Return logits (N, vocabulary) of the batch's N targets, in the model's dtype."""
    return _forward(model, batch, lambda hidden_BTD: hidden_BTD[batch.rows_N, batch.columns_N])


def target_hidden(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
    """Return the hidden states (N, D) from which the output layer predicts the N targets."""
    seen: list[torch.Tensor] = []

    def keep_none(hidden_BTD: torch.Tensor) -> torch.Tensor:
        seen.append(hidden_BTD[batch.rows_N, batch.columns_N])
        return hidden_BTD[0, :0]

    _forward(model, batch, keep_none)
    return seen[0]


def logits_of(model: torch.nn.Module, hidden_ND: torch.Tensor) -> torch.Tensor:
    """Return logits (N, vocabulary) of hidden states (N, D)."""
    inner = _unwrapped(model)
    causal = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    hidden_N1D = hidden_ND[:, None]  # rows of one token
    made = _OnlyHidden(last_hidden_state=hidden_N1D)
    with ExitStack() as replaced:
        head = inner.get_output_embeddings()
        for layers in _layers(causal, head):
            replaced.enter_context(_replaced(layers, lambda *_, **__: made))
        # Some models do more between their layers and the output layer; that is already done.
        hook = head.register_forward_pre_hook(lambda *_: hidden_N1D)
        replaced.callback(hook.remove)
        # The outermost forward, where autocast is.
        logits_N1V: torch.Tensor = inner(inputs_embeds=hidden_N1D, use_cache=False).logits
    return logits_N1V[:, 0]


def _layers(causal: Any, head: Any) -> list[Any]:
    """Return the modules that a model's forward may call for its layers, under any name.

    OPT calls the decoder inside its base model, Llama 4's text model has a base model in name only,
    and ModernBERT's decoder is its output layer.
    """
    named = (causal.base_model, causal.get_decoder(), getattr(causal, "model", causal))
    return [module for module in dict.fromkeys(named) if module not in (causal, head)]


class _OnlyHidden(BaseModelOutputWithPast):
    """The layers' output; anything else that a model passes on (router logits) is None."""

    def __getattr__(self, name: str) -> None:
        return None


def _forward(
    model: torch.nn.Module, batch: MicroBatch, select: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the model's logits where its output layer is given selected hidden states."""
    inner = _unwrapped(model)
    ids_BT = batch.input_ids_BT
    row = row_arguments(inner, batch.lengths, ids_BT.device) if batch.lengths else {}
    hook = inner.get_output_embeddings().register_forward_pre_hook(
        lambda _module, args: select(args[0])
    )
    try:
        logits: torch.Tensor = model(input_ids=ids_BT, use_cache=False, **row).logits
    finally:
        hook.remove()
    return logits


@contextmanager
def _replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace a module's forward inside the block."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _unwrapped(model: torch.nn.Module) -> Any:
    """Return the Transformers or PEFT model inside a distributed wrapper."""
    while hasattr(model, "module"):
        model = model.module
    return model
