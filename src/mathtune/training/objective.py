"""What is learned: the loss of a step's examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from mathtune import ranks
from mathtune.prompts.render import Renderer
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, StepItem, collate, supervised_count
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.loss.supervised import summed_loss
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.step_source import StepSource

Item_contra = TypeVar("Item_contra", bound=StepItem, contravariant=True)


class Objective(Protocol[Item_contra]):
    """A loss that is a sum over a step's examples, divided by one number for the whole step.

    So the gradient does not depend on how the examples are split into micro-batches. An item is
    whatever a ``StepSource`` yields (``StepItem``): an example, an answer with its advantage, a
    preferred and a rejected answer.
    """

    def normaliser(self, items: Sequence[Item_contra]) -> float:
        """Return the divisor of a step's summed loss; the items are those of all ranks."""

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Item_contra], limits: Limits
    ) -> torch.Tensor:
        """Return the summed loss of a micro-batch, as a scalar with a gradient."""

    def metrics(self) -> dict[str, float]:
        """Return figures to log besides the loss, for the steps since the last call."""


@dataclass(frozen=True, slots=True)
class Start:
    """What an objective and its source are made for, when a training starts or is resumed.

    Attributes:
        model: The model itself, with the weights from before training.
        state: How far training has come.
        fitting: Limits of a micro-batch.
        run_dir: The run folder.
    """

    model: Any
    state: TrainingState
    fitting: FittingLimits
    run_dir: Path


class Learning(Protocol):
    """A way of learning other than from the gold solutions; ``learning/`` has them."""

    @property
    def unit(self) -> str:
        """What a batch size counts, in the singular: problem, pair."""

    @property
    def steps_per_batch(self) -> int:
        """How many optimiser steps each batch is used for."""

    def prepare(self, renderer: Renderer) -> list[Example]:
        """Return, one per problem or pair, the longest text that training may read of it."""

    def validation(self, renderer: Renderer) -> list[Example] | None:
        """Return what validation loss is measured on; None: the validation problems' solutions."""

    def start(self, start: Start) -> tuple[Objective[Any], StepSource[Any]]:
        """Return the objective and its source."""


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

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Example], limits: Limits
    ) -> torch.Tensor:
        """Return the summed negative log-likelihood, in nats."""
        device = next(model.parameters()).device
        batch = collate(micro_batch, padding_free=limits.padding_free).to(device)
        # The output layer alone would run outside the wrappers that gather its weights.
        chunk = limits.max_supervised_tokens if ranks.sharding() is None else None
        return summed_loss(model, batch, self.label_smoothing, chunk)

    def metrics(self) -> dict[str, float]:
        """Return nothing: perplexity follows from the loss."""
        return {}
