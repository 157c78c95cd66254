"""Where the examples of an optimiser step come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch

from mathtune.training.batching.micro_batches import Item as Each
from mathtune.training.batching.micro_batches import StepItem

Item = TypeVar("Item", bound=StepItem, covariant=True)


class StepSource(Protocol[Item]):
    """Yields each step's examples: from a fixed set, or sampled for the step.

    Every rank has one, and all yield the same examples for the same step. Its state is saved in
    checkpoints, so that a resumed run sees the examples it would have seen.
    """

    def next_step(self) -> Sequence[Item]:
        """Return the examples of the next step, on all ranks together; none ends the training."""

    @property
    def epoch(self) -> float:
        """How often the whole set has been seen; an integer exactly where an epoch ends."""

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs, for JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which ``state`` was taken."""


class ShuffledExamples(Generic[Each]):
    """A fixed set of examples or pairs, in an order that follows from the seed and the epoch alone.

    Args:
        examples: The training set.
        examples_per_step: On all ranks; the last step of an epoch takes the remainder.
        seed: Seed of the order.
    """

    def __init__(self, examples: Sequence[Each], examples_per_step: int, seed: int) -> None:
        self._examples = examples
        self._size = examples_per_step
        self._seed = seed
        self._steps = 0
        self._order: list[int] = []

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps to see every example once."""
        return math.ceil(len(self._examples) / self._size)

    def next_step(self) -> list[Each]:
        """Return the next step's examples."""
        epoch, step = divmod(self._steps, self.steps_per_epoch)
        if not self._order or step == 0:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._order = torch.randperm(len(self._examples), generator=generator).tolist()
        self._steps += 1
        return [
            self._examples[index]
            for index in self._order[step * self._size : (step + 1) * self._size]
        ]

    @property
    def epoch(self) -> float:
        """How often the whole set has been seen; an integer exactly where an epoch ends."""
        whole, steps = divmod(self._steps, self.steps_per_epoch)
        return whole + steps / self.steps_per_epoch

    def state(self) -> dict[str, Any]:
        """Return the number of steps taken."""
        return {"steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after this many steps."""
        self._steps, self._order = int(state["steps"]), []
