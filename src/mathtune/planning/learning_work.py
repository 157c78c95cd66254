"""The optimiser steps of a training on sampled answers or on pairs of answers, and the teacher."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from mathtune.config.schema import ModelConfig, Recipe
from mathtune.models.compute import Compute
from mathtune.models.loading import count_parameters
from mathtune.planning.memory_trace import MemoryTrace, Use
from mathtune.planning.model_without_data import build, give_storage
from mathtune.planning.peak_memory import MemoryPlan
from mathtune.planning.sampling import KEPT
from mathtune.planning.text_lengths import Lengths, example_of
from mathtune.planning.workload import Workload, lay_out
from mathtune.training.batching.micro_batches import Limits, cut, supervised_count

_FORWARD = 1 / 3
"""Share of a step's kernels that its forward pass starts."""


def work_of(recipe: Recipe, lengths: Lengths, limits: Limits, devices: int) -> Workload:
    """Return a recipe's steps in micro-batches, on texts as long as the solutions.

    With ``grpo`` and ``gkd`` every problem gives ``num_generations`` answers, with ``dpo`` (where
    ``lengths.count`` is that of pairs) two, and with rounds of rejection sampling a selection of
    the samples is trained on in each round.
    """
    train, grpo = recipe.train, recipe.train.objective == "grpo"
    sampled = {"grpo": recipe.grpo.num_generations, "gkd": recipe.gkd.num_generations}
    texts = {**sampled, "dpo": 2}.get(train.objective, 1)
    repeated = train.model_copy(
        update={
            "per_device_train_batch_size": train.per_device_train_batch_size * texts,
            "num_train_epochs": train.num_train_epochs
            * (recipe.grpo.num_iterations if grpo else 1),
        }
    )
    if train.objective == "dpo":  # limits count pairs
        limits = replace(limits, max_examples=limits.max_examples * 2)
    counts = list(_selected(recipe, lengths)) or [lengths.count * texts]
    examples = lengths.examples * texts
    rounds = [
        lay_out(examples, repeated, limits, seed=recipe.seed, devices=devices, count=count)
        for count in counts
    ]
    work = replace(
        rounds[-1],
        steps=sum(each.steps for each in rounds),
        examples=sum(each.examples for each in rounds),
        tokens=sum(each.tokens for each in rounds),
        micro_batches=sum(each.micro_batches for each in rounds),
    )
    if train.objective in sampled:  # any answer may be as long as is allowed
        prompt = max(example.prompt_tokens for example in lengths.examples)
        whole = min(prompt + recipe.eval.max_new_tokens, train.max_length)
        step = [example_of(whole, prompt, recipe)] * (
            repeated.per_device_train_batch_size * train.gradient_accumulation_steps
        )
        work = replace(work, largest=(tuple(next(cut(step, limits))),))
    return work


def _selected(recipe: Recipe, lengths: Lengths) -> Iterator[int]:
    """Yield how many samples each round of rejection sampling trains on."""
    rft, select = recipe.rft, recipe.select
    for number in range(1, rft.rounds + 1):
        kept = min(rft.samples * number * KEPT, select.max_per_problem) + select.gold
        yield max(1, math.ceil(lengths.count * kept))


@dataclass(frozen=True, slots=True)
class Teacher:
    """The teacher of a distillation, which only reads.

    Attributes:
        weights: Their bytes.
        parameters: How many, 4-bit ones counted as they are.
        logits: Bytes of the logits of one token.
        layers: How many.
    """

    weights: int
    parameters: int
    logits: int
    layers: int

    def added_to(
        self, memory: MemoryPlan, work: Workload, limits: Limits, layers: int
    ) -> MemoryPlan:
        """Return what a training takes with this teacher beside a model of ``layers`` layers.

        Nothing of the teacher is kept for a backward pass but its logits, for as long as the
        model's.
        """
        targets = min(limits.max_supervised_tokens, max(map(supervised_count, work.largest)))
        logits = min(targets * self.logits, memory.by_use[Use.LOGITS])
        held = Counter({Use.TEACHER: self.weights, Use.LOGITS: logits})
        return replace(
            memory,
            by_use=memory.by_use + held,
            flops_per_token=memory.flops_per_token + 2 * self.parameters,
            kernels=round(memory.kernels * (1 + _FORWARD * self.layers / layers)),
        )


def teacher_of(recipe: Recipe, model: ModelConfig, hf_config: Any, compute: Compute) -> Teacher:
    """Return what a recipe's teacher takes.

    Raises:
        ModelError: It cannot be built.
    """
    built = build(recipe.model_copy(update={"model": model, "adapter": None}), hf_config, compute)
    text = hf_config.get_text_config()
    with FakeTensorMode(), MemoryTrace(int(text.vocab_size), int(text.hidden_size)) as trace:
        give_storage(built)
    return Teacher(
        trace.alive.total(),
        count_parameters(built).total,
        int(text.vocab_size) * compute.dtype.itemsize,
        text.num_hidden_layers,
    )
