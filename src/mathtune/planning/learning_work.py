"""The optimiser steps of a training on sampled answers or on pairs of answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from mathtune.config.schema import Recipe
from mathtune.planning.sampling import KEPT
from mathtune.planning.text_lengths import Lengths, example_of
from mathtune.planning.workload import Workload, lay_out
from mathtune.training.batching.micro_batches import Limits, cut


def work_of(recipe: Recipe, lengths: Lengths, limits: Limits, devices: int) -> Workload:
    """Return a recipe's steps in micro-batches, on texts as long as the solutions.

    With ``grpo`` every problem gives ``num_generations`` answers, with ``dpo`` (where
    ``lengths.count`` is that of pairs) two, and with rounds of rejection sampling a selection of
    the samples is trained on in each round.
    """
    train, grpo = recipe.train, recipe.train.objective == "grpo"
    texts = {"grpo": recipe.grpo.num_generations, "dpo": 2}.get(train.objective, 1)
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
    if grpo:  # any answer may be as long as is allowed
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
