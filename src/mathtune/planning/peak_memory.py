"""Peak memory of a recipe's training steps, from the model's configuration alone.

The model is built without data (see ``memory_trace.py``), held as the recipe holds it, and taken
through forward, backward and an optimiser step on the micro-batches that are largest.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from transformers.training_args import OptimizerNames

import mathtune.training.loss.cross_entropy as cross_entropy
from mathtune.config.schema import Recipe
from mathtune.models.compute import Compute
from mathtune.models.loading import ParameterCounts, count_parameters
from mathtune.planning.memory_trace import MemoryTrace, Moment, Use
from mathtune.planning.model_without_data import build, give_storage
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, MicroBatch, collate
from mathtune.training.batching.padding_free import attention_within_examples
from mathtune.training.loss.cross_entropy import row_chunks
from mathtune.training.loss.supervised import summed_loss
from mathtune.training.optimizers import make_optimizer


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes at the moment of the peak, on one device.

    Attributes:
        by_use: Bytes per use; they add up to ``peak``.
        moment: ``backward`` (forward and backward of a micro-batch) or ``optimiser step``.
        pageable: Bytes of ``by_use`` that a paged optimiser can move to the host's memory.
        flops_per_token: Floating-point operations of forward and backward per token of a
            micro-batch.
        kernels: Kernels that a micro-batch launches.
        parameters: What is held and trained.
    """

    by_use: Counter[Use]
    moment: str
    pageable: int
    flops_per_token: float
    kernels: int
    parameters: ParameterCounts

    @property
    def peak(self) -> int:
        """Sum over all uses."""
        return self.by_use.total()


def plan_memory(
    recipe: Recipe,
    hf_config: Any,
    compute: Compute,
    micro_batches: Sequence[Sequence[Example]],
    *,
    limits: Limits,
    accumulates: bool,
) -> MemoryPlan:
    """Return the peak over forward and backward of each micro-batch and an optimiser step.

    Every layer is traced; ``layer_extrapolation.py`` gets the same from a few.

    Args:
        recipe: Method, optimiser, checkpointing.
        hf_config: The model's Transformers configuration.
        compute: Dtypes, and whether kernels work on lists of tensors as on a GPU.
        micro_batches: The largest ones; only lengths and what is supervised matter.
        limits: The limits they were split by.
        accumulates: Whether steps have several, so that the others' gradients are already there.

    Raises:
        ModelError: The model cannot be built, or the adapter does not fit it.
    """
    walk = Walk(recipe, hf_config, compute, micro_batches, limits=limits, accumulates=accumulates)
    steps = walk.optimizer_step(recipe)
    peaks = [max(phase, key=_total).alive for phase in steps.phases]
    return steps.plan(recipe, *peaks)


@dataclass(frozen=True, slots=True)
class Steps:
    """The result of tracing forward, backward and an optimiser step.

    Attributes:
        phases: Moments of forward and backward of each micro-batch, then of the optimiser step.
        states: Bytes that the optimiser keeps.
        flops: Floating-point operations of all micro-batches.
        kernels: Kernels that they launch.
        tokens: Tokens in them, padding included.
        micro_batches: How many there are.
        parameters: What is held and trained.
    """

    phases: tuple[Sequence[Moment], ...]
    states: int
    flops: int
    kernels: int
    tokens: int
    micro_batches: int
    parameters: ParameterCounts

    def plan(self, recipe: Recipe, *peaks: Counter[Use]) -> MemoryPlan:
        """Return the plan, given the peak of each phase."""
        *passes, step = peaks
        highest = max(passes, key=Counter.total).copy()
        highest[Use.OPTIMIZER] = self.states  # they exist from the first step on
        named = (highest, "backward"), (step, "optimiser step")
        by_use, moment = max(named, key=lambda each: each[0].total())
        return MemoryPlan(
            by_use=+by_use,  # without zeros
            moment=moment,
            pageable=self.states if recipe.train.optim.startswith("paged_") else 0,
            flops_per_token=self.flops / self.tokens,
            kernels=round(self.kernels / self.micro_batches),
            parameters=self.parameters,
        )


class Walk:
    """A model without data that has gone through forward and backward of its micro-batches.

    Optimiser steps can follow, each as if it were the first.

    Args:
        recipe: As in ``plan_memory``, like the other arguments and the errors.
        hf_config: The model's configuration.
        compute: Dtypes.
        micro_batches: The largest ones.
        limits: The limits they were split by.
        accumulates: Whether steps have several.
        one_chunk: Whether to trace one of the loss's equal chunks of rows on behalf of all.
    """

    def __init__(
        self,
        recipe: Recipe,
        hf_config: Any,
        compute: Compute,
        micro_batches: Sequence[Sequence[Example]],
        *,
        limits: Limits,
        accumulates: bool,
        one_chunk: bool = False,
    ) -> None:
        text = hf_config.get_text_config()
        self._compute, self._accumulates = compute, accumulates
        self._model = build(recipe, hf_config, compute)
        self._fake = FakeTensorMode()
        self._trace = trace = MemoryTrace(int(text.vocab_size), int(text.hidden_size))
        chunks = partial(_one_of_chunks, trace, row_chunks) if one_chunk else row_chunks
        self._phases: list[list[Moment]] = []
        self._tokens, self._micro_batches = 0, len(micro_batches)
        with self._inside(), _loss_in(chunks):
            with trace.counting_as(Use.WEIGHTS):
                give_storage(self._model)
            self._prepare(recipe)
            before = trace.flops, trace.kernels
            for micro in micro_batches:
                self._pass(recipe, collate(micro, padding_free=limits.padding_free), limits)
            self._flops, self._kernels = trace.flops - before[0], trace.kernels - before[1]

    def optimizer_step(self, recipe: Recipe) -> Steps:
        """Return the result of the walk plus a step of the recipe's optimiser."""
        with self._inside(), self._trace.counting_as(Use.OPTIMIZER):
            optimizer = _make_optimizer(recipe, self._model, self._compute)
            _take_step(optimizer)
            moments, states = self._trace.moments, self._trace.alive[Use.OPTIMIZER]
            optimizer.state.clear()
        return Steps(
            (*self._phases, moments),
            states,
            self._flops,
            self._kernels,
            self._tokens,
            self._micro_batches,
            self._parameters,
        )

    @contextmanager
    def _inside(self) -> Iterator[None]:
        with self._fake, self._trace, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    def _prepare(self, recipe: Recipe) -> None:
        """Prepare the model for training, gradients of earlier micro-batches included."""
        model, trace = self._model, self._trace
        self._parameters = count_parameters(model)
        self._trained = [each for each in model.parameters() if each.requires_grad]
        for parameter in self._trained:
            if self._accumulates:
                parameter.grad = torch.empty_like(parameter)
                trace.relabel(parameter.grad, Use.GRADIENTS)
            parameter.register_post_accumulate_grad_hook(
                lambda each: trace.relabel(each.grad, Use.GRADIENTS)
            )
        if recipe.train.gradient_checkpointing:
            model.activation_checkpointing_enable()
        if self._compute.autocast_bf16:
            model.forward = convert_outputs_to_fp32(model.forward)  # as accelerate does
        model.train()

    def _pass(self, recipe: Recipe, batch: MicroBatch, limits: Limits) -> None:
        model = self._model
        if not self._accumulates:
            model.zero_grad()
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=self._compute.autocast_bf16)
        with attention_within_examples(model) if limits.padding_free else nullcontext():
            self._phases.append(self._trace.begin_phase())
            with autocast:
                smoothing = recipe.train.label_smoothing_factor
                loss = summed_loss(model, batch, smoothing, limits.max_supervised_tokens)
            self._phases.append(self._trace.begin_phase())
            loss.backward()
        self._tokens += batch.input_ids_BT.numel()


def _total(moment: Moment) -> int:
    return moment.alive.total()


Chunks = Callable[[torch.Tensor], Iterable[slice]]


@contextmanager
def _loss_in(chunks: Chunks) -> Iterator[None]:
    """Let the loss split its rows differently."""
    before = cross_entropy.row_chunks
    cross_entropy.row_chunks = chunks  # type: ignore[assignment]
    try:
        yield
    finally:
        cross_entropy.row_chunks = before


def _one_of_chunks(trace: MemoryTrace, chunks: Chunks, logits_NV: torch.Tensor) -> Iterator[slice]:
    """Yield the first chunk of rows, and count the kernels of the others, which are alike."""
    first, *others = chunks(logits_NV)
    before = trace.kernels
    yield first
    trace.kernels += len(others) * (trace.kernels - before)


def _make_optimizer(recipe: Recipe, model: Any, compute: Compute) -> torch.optim.Optimizer:
    """Return the optimiser that training makes, for a device that need not be here."""
    train = recipe.train
    args: Any = SimpleNamespace(
        optim=OptimizerNames(train.optim),
        optim_args=None,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        adam_beta1=train.adam_beta1,
        adam_beta2=train.adam_beta2,
        adam_epsilon=1e-8,
    )
    ratio = recipe.adapter.loraplus_lr_ratio if recipe.adapter else None
    with unset_fake_temporarily():  # bitsandbytes computes a table of numbers here
        optimizer = make_optimizer(model, args, ratio)
    # One group in the model's order: as many bytes, and layer after layer the same operations.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    del optimizer.param_groups[1:]
    optimizer.param_groups[0]["params"] = trained
    if compute.device == "cuda" and type(optimizer).__module__.startswith("torch.optim"):
        for group in optimizer.param_groups:
            if not group.get("fused"):
                group["foreach"] = True  # PyTorch's choice on GPUs: all tensors at once
    return optimizer


def _take_step(optimizer: torch.optim.Optimizer) -> None:
    if not hasattr(optimizer, "init_state"):
        optimizer.step()
        return
    # bitsandbytes: its kernels work in place, so the states are all there is.
    optimizer.is_paged = False  # pages are allocated with CUDA
    optimizer.check_overrides()  # embeddings, whose states stay in 32 bits
    for number, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            optimizer.init_state(group, parameter, number, index)
