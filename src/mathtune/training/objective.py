"""What is learned: the loss of a step's examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from mathtune import ranks
from mathtune.records import Example
from mathtune.training.batching import across_ranks
from mathtune.training.batching.across_ranks import MicroBatches
from mathtune.training.batching.micro_batches import Limits, collate, supervised_count
from mathtune.training.loss.supervised import summed_loss

Item = TypeVar("Item")


class Objective(Protocol[Item]):
    """A loss that is a sum over a step's examples, divided by one number for the whole step.

    So the gradient does not depend on how the examples are split into micro-batches. An item is an
    example, or whatever a ``StepSource`` yields: a preferred and a rejected answer, an answer with
    its advantage.
    """

    def normaliser(self, items: Sequence[Item]) -> float:
        """Return the divisor of a step's summed loss; the items are those of all ranks."""

    def micro_batches(self, items: Sequence[Item], limits: Limits) -> MicroBatches[Item]:
        """Return this rank's micro-batches of a step, as many as on every other rank."""

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Item], limits: Limits
    ) -> torch.Tensor:
        """Return the summed loss of a micro-batch, as a scalar with a gradient."""

    def tokens(self, items: Sequence[Item]) -> int:
        """Return how many tokens the model reads in a step."""

    def metrics(self) -> dict[str, float]:
        """Return figures to log besides the loss, for the steps since the last call."""


@dataclass(frozen=True, slots=True)
class SupervisedFineTuning:
    """Cross-entropy at supervised tokens, averaged over all of them in the step.

    Attributes:
        label_smoothing: Share of the target spread over all tokens.
    """

    label_smoothing: float = 0.0

    def normaliser(self, items: Sequence[Example]) -> float:
        """Return the number of supervised tokens."""
        return supervised_count(items)

    def micro_batches(self, items: Sequence[Example], limits: Limits) -> MicroBatches[Example]:
        """Return this rank's micro-batches, the longest examples first."""
        return across_ranks.micro_batches(items, limits)

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Example], limits: Limits
    ) -> torch.Tensor:
        """Return the summed negative log-likelihood, in nats."""
        device = next(model.parameters()).device
        batch = collate(micro_batch, padding_free=limits.padding_free).to(device)
        # The output layer alone would run outside the wrappers that gather its weights.
        chunk = limits.max_supervised_tokens if ranks.sharding() is None else None
        return summed_loss(model, batch, self.label_smoothing, chunk)

    def tokens(self, items: Sequence[Example]) -> int:
        """Return the number of tokens, prompts included."""
        return sum(len(example.ids) for example in items)

    def metrics(self) -> dict[str, float]:
        """Return nothing: perplexity follows from the loss."""
        return {}
