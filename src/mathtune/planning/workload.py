"""How much there is to compute: a recipe's optimiser steps and their micro-batches."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mathtune.config.schema import TrainConfig
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, cut, supervised_count

SAMPLED_STEPS = 1000
"""At most this many steps are simulated; longer trainings are extrapolated from them."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The size of a training.

    Attributes:
        steps: Optimiser steps.
        examples: Examples seen over all of them, on all devices.
        tokens: Tokens that go through the model on one device, padding included.
        micro_batches: Micro-batches on one device.
        largest: The micro-batch with the most tokens and, if different, the one with the most
            supervised tokens; one of them takes the most memory.
        accumulates: Whether a step has several micro-batches.
    """

    steps: int
    examples: int
    tokens: int
    micro_batches: int
    largest: tuple[tuple[Example, ...], ...]
    accumulates: bool


def lay_out(
    examples: Sequence[Example],
    train: TrainConfig,
    limits: Limits,
    *,
    seed: int,
    devices: int = 1,
    count: int | None = None,
) -> Workload:
    """Split a training's steps into micro-batches as the training loop does, in a random order.

    Args:
        examples: Training examples that fit ``train.max_length``, or a sample of them.
        train: Batch, accumulation, epochs.
        limits: Limits of a micro-batch.
        seed: Seed of the order.
        devices: How many; each takes its own batch.
        count: How many examples there are where ``examples`` is a sample.
    """
    each = train.per_device_train_batch_size * train.gradient_accumulation_steps
    a_step, count = each * devices, count or len(examples)
    steps = train.max_steps
    if steps < 0:
        steps = math.ceil(math.ceil(count / a_step) * train.num_train_epochs)
    tokens = passes = sampled = 0
    accumulates = False
    most_tokens: tuple[tuple[int, int], list[Example]] = ((0, 0), [])
    most_targets: tuple[tuple[int, int], list[Example]] = ((0, 0), [])
    for step in itertools.islice(_steps(examples, each, seed), min(steps, SAMPLED_STEPS)):
        micro_batches = list(cut(step, limits))
        accumulates |= len(micro_batches) > 1
        for micro in micro_batches:
            # As ``collate`` lays them out, where the last token of an example is only a target.
            lengths = [len(example.ids) - 1 for example in micro]
            size = sum(lengths) if limits.padding_free else len(lengths) * max(lengths)
            targets = supervised_count(micro)
            most_tokens = max(most_tokens, ((size, targets), micro), key=_size)
            most_targets = max(most_targets, ((targets, size), micro), key=_size)
            tokens += size
        passes += len(micro_batches)
        sampled += 1
    largest = [most_tokens[1]]
    if most_targets[1] is not most_tokens[1]:
        largest.append(most_targets[1])
    seen = steps * a_step if train.max_steps > 0 else round(count * train.num_train_epochs)
    return Workload(
        steps=steps,
        examples=seen,
        tokens=round(tokens * steps / sampled),
        micro_batches=round(passes * steps / sampled),
        largest=tuple(map(tuple, largest)),
        accumulates=accumulates,
    )


def _size(found: tuple[tuple[int, int], list[Example]]) -> tuple[int, int]:
    return found[0]


def _steps(examples: Sequence[Example], each: int, seed: int) -> Iterator[list[Example]]:
    """Yield the examples of steps, epoch after epoch; the last step of an epoch may be smaller."""
    order, generator = list(examples), random.Random(seed)
    while True:
        generator.shuffle(order)
        yield from (order[start : start + each] for start in range(0, len(order), each))
