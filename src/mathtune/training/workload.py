"""How much there is to compute: the optimiser steps of a recipe and their micro-batches."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mathtune.config.schema import TrainConfig
from mathtune.records import Example
from mathtune.training.batches import Limits, collate, cut

SAMPLED_STEPS = 1000
"""Steps that are laid out at most; the tokens of longer trainings are extrapolated from them."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A training, by size.

    Attributes:
        steps: Optimiser steps.
        examples: Examples seen over all of them, on all devices.
        tokens: Tokens that go through the model on one device, padding included.
        micro_batches: Forward passes on one device.
        largest: The examples of the micro-batch that takes most memory.
        accumulates: Whether a step with that micro-batch has others.
    """

    steps: int
    examples: int
    tokens: int
    micro_batches: int
    largest: tuple[Example, ...]
    accumulates: bool


def lay_out(
    examples: Sequence[Example],
    train: TrainConfig,
    limits: Limits,
    *,
    logit_cost: float,
    seed: int,
    devices: int = 1,
    count: int | None = None,
) -> Workload:
    """Cut the steps of a training as the trainer does, in a random order of its own.

    Args:
        examples: Training examples that fit ``train.max_length``, or a sample of them.
        train: Batch, accumulation, epochs.
        limits: Bounds of a micro-batch.
        logit_cost: Memory of a target's logits over that of a token's activations.
        seed: Of the order.
        devices: Each takes a batch of its own.
        count: How many examples there are where ``examples`` is a sample.
    """
    each = train.per_device_train_batch_size * train.gradient_accumulation_steps
    a_step, count = each * devices, count or len(examples)
    steps = train.max_steps
    if steps < 0:
        steps = math.ceil(math.ceil(count / a_step) * train.num_train_epochs)
    tokens = passes = sampled = 0
    largest: tuple[float, list[Example], bool] = (-1.0, [], False)
    for step in itertools.islice(_steps(examples, each, seed), min(steps, SAMPLED_STEPS)):
        micro_batches = list(cut(step, limits))
        for micro in micro_batches:
            batch = collate(micro)
            size = batch.input_ids_BT.numel()
            tokens += size
            cost = size + logit_cost * batch.targets_N.numel()
            if cost > largest[0]:
                largest = (cost, micro, len(micro_batches) > 1)
        sampled += 1
        passes += len(micro_batches)
    seen = steps * a_step if train.max_steps > 0 else round(count * train.num_train_epochs)
    return Workload(
        steps=steps,
        examples=seen,
        tokens=round(tokens * steps / sampled),
        micro_batches=round(passes * steps / sampled),
        largest=tuple(largest[1]),
        accumulates=largest[2],
    )


def _steps(examples: Sequence[Example], each: int, seed: int) -> Iterator[list[Example]]:
    """Yield the examples of steps, epoch after epoch; the last step of an epoch may be smaller."""
    order, generator = list(examples), random.Random(seed)
    while True:
        generator.shuffle(order)
        yield from (order[start : start + each] for start in range(0, len(order), each))
