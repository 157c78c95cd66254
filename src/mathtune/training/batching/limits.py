"""How large a micro-batch may be, and whether its examples can share a row.

The latter depends on the model, so it is tested on two examples before training starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch.distributed.fsdp import FSDPModule

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import MathtuneError, ModelError, TrainingStopped
from mathtune.models.compute import Compute
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.batching.padding_free import attention_within_examples, is_asked
from mathtune.training.kernels import describe_kernels
from mathtune.training.loss.lm_head import target_hidden
from mathtune.training.memory.out_of_memory import is_out_of_memory

T = TypeVar("T")
log = logging.getLogger(__name__)

# Enough for matrix products to run at full rate, with few gradient accumulations.
MICRO_BATCH_TOKENS = {"cpu": 2048, "mps": 4096, "cuda": 16384}


def limits(recipe: Recipe, model: Any) -> Limits:
    """Return the limits of a micro-batch for a recipe and the model's device."""
    return limits_on(recipe, model.config, model.device.type)


def limits_on(recipe: Recipe, hf_config: Any, device: str) -> Limits:
    """Return the limits of a micro-batch on a kind of device, from the model's configuration."""
    vocabulary = int(hf_config.get_text_config().vocab_size)
    sampled = {"grpo": recipe.grpo.num_generations, "gkd": recipe.gkd.num_generations}
    answers = sampled.get(recipe.train.objective, 1)
    return Limits(
        max_examples=recipe.train.per_device_train_batch_size * answers,
        max_tokens=recipe.train.micro_batch_tokens or MICRO_BATCH_TOKENS[device],
        max_supervised_tokens=max(1, recipe.train.logits_chunk_bytes // (4 * vocabulary)),
        padding_free=is_asked(recipe),
    )


def limits_for(recipe: Recipe, model: Any, compute: Compute, examples: Sequence[Example]) -> Limits:
    """Return the limits of a micro-batch; report them, its layout and its kernels.

    ``examples`` are all that these limits apply to. One that is longer than a micro-batch has a row
    to itself, with the same attention, so it counts too.

    Raises:
        ModelError: The model sees the tokens that it should predict.
        TrainingStopped: Memory does not even hold one example.
    """
    shortest = min(examples, key=lambda example: len(example.ids))
    _on_first(model, lambda: check_causal(model, shortest))
    fitting, how = layout_for(limits(recipe, model), model, examples, compute.autocast_bf16)
    problems = "1 problem" if fitting.max_examples == 1 else f"{fitting.max_examples} problems"
    log.info(f"at most {problems} and {fitting.max_tokens:,} tokens per micro-batch, in {how}")
    log.info(describe_kernels(recipe, model, compute, fitting.padding_free))
    return fitting


def layout_for(
    fitting: Limits, model: Any, examples: Sequence[Example], autocast_bf16: bool
) -> tuple[Limits, str]:
    """Return limits whose micro-batches a model reads without mixing examples, and their layout.

    Raises:
        TrainingStopped: Memory does not even hold one example.
    """

    def why_not(padding_free: bool) -> str | None:
        return _on_first(model, lambda: why_mixed(model, examples, padding_free, autocast_bf16))

    how = "padded rows, as the recipe asks"
    if fitting.padding_free:
        how = "one row without padding"
        if reason := why_not(padding_free=True):
            how = f"padded rows, because in one row {reason}"
            fitting = replace(fitting, padding_free=False)
    if (
        not fitting.padding_free
        and fitting.max_examples > 1
        and (reason := why_not(padding_free=False))
    ):
        how = f"a row of its own, because even in padded rows {reason}"
        fitting = replace(fitting, max_examples=1)
    return fitting, how


def _on_first(model: Any, test: Callable[[], T]) -> T:
    """Return what a test of the model finds on rank 0.

    Under FSDP all ranks run it, as each forward pass gathers weights from all of them.
    """
    if not isinstance(model, FSDPModule):
        return ranks.from_first(test)
    fault: MathtuneError | None = None
    found: list[T] = []
    try:
        found.append(test())
    except MathtuneError as error:
        fault = error

    def first() -> T:
        if fault is not None:
            raise fault
        return found[0]

    return ranks.from_first(first)


_TOLERANCE = {4: 1e-3, 2: 5e-2}
"""Relative difference of hidden states explained by rounding, by bytes per number."""


def check_causal(model: Any, example: Example) -> None:
    """Raise ModelError if what a model computes for a token depends on tokens after it.

    Then its loss would be meaningless, because each token to predict is seen. In a causal model the
    gradient of the first half's hidden states with respect to the second half's embeddings is
    exactly 0, in any dtype.
    """
    embeddings: list[torch.Tensor] = []

    def keep(_module: Any, _arguments: Any, output: torch.Tensor) -> torch.Tensor:
        embeddings.append(output.detach().requires_grad_())
        return embeddings[-1]

    hook = model.get_input_embeddings().register_forward_hook(keep)
    try:
        hidden_TD = _hidden(model, [example], padding_free=False)
        half = len(hidden_TD) // 2
        first_TD = hidden_TD[:half]
        # The square as well, because the sum over a normalised vector is constant.
        (gradient_BTD,) = torch.autograd.grad((first_TD + first_TD.square()).sum(), embeddings[:1])
    except Exception:  # other faults are found by why_mixed, or by the first step
        return
    finally:
        hook.remove()
    later_TD = gradient_BTD[0, half:]
    if later_TD.any() and later_TD.isfinite().all():
        raise ModelError(
            f"this {model.config.model_type} model sees the tokens after each token, so it cannot "
            "learn to predict them: it is an encoder, such as BERT; set model.name_or_path to a "
            "causal language model"
        )


@torch.no_grad()
def why_mixed(
    model: Any, examples: Sequence[Example], padding_free: bool, autocast_bf16: bool = False
) -> str | None:
    """Return why a model's examples cannot share a layout, or None if they can.

    The model gets the longest and the shortest example together and each alone. Their last hidden
    states differ if one sees the other, through attention or a state carried along the row, if
    attention changes for long texts, or if the model sees padding ahead.

    Raises:
        TrainingStopped: Memory does not even hold one example.
    """
    by_length = sorted(examples, key=lambda example: -len(example.ids))
    two = [by_length[0], by_length[-1]]
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=autocast_bf16)
    try:
        with autocast:
            alone_ND = torch.cat([_hidden(model, [example], False) for example in two])
    except Exception as error:  # architectures fail in their own ways
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise TrainingStopped(
                f"out of memory before the first step, in a test with {len(two[0].ids)} "
                "tokens; lower train.max_length, take a smaller model, or train an adapter on "
                "4-bit weights (adapter.r=8 model.load_in_4bit=true)"
            ) from error
        return _first_line(error)
    try:
        with autocast, attention_within_examples(model) if padding_free else nullcontext():
            together_ND = _hidden(model, two, padding_free)
    except Exception as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            return "memory does not hold two of them"
        return _first_line(error)
    apart_N = torch.linalg.norm(together_ND - alone_ND, dim=-1)
    worst = float((apart_N / torch.linalg.norm(alone_ND, dim=-1)).max())
    bytes_each = 2 if autocast_bf16 else next(model.parameters()).dtype.itemsize
    if worst <= _TOLERANCE.get(bytes_each, 5e-2):
        return None
    return f"its hidden states change by up to {worst:.1g} of their size"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hidden(model: Any, examples: Sequence[Example], padding_free: bool) -> torch.Tensor:
    was_training = model.training
    model.eval()
    try:
        # Of every token: an effect on only the next few shows nowhere else.
        batch = collate(examples, padding_free=padding_free, every_token=True)
        return target_hidden(model, batch.to(model.device)).float()
    finally:
        model.train(was_training)
