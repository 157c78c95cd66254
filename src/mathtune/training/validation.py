"""Validation: loss, perplexity and, where asked for, exact match."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from mathtune.records import Example
from mathtune.training.batching.across_ranks import MicroBatches, micro_batches
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.memory.out_of_memory import FittingLimits, within_memory
from mathtune.training.objective import SupervisedFineTuning
from mathtune.training.onednn_linears import onednn_linears


@dataclass(frozen=True)
class Validation:
    """Measures a model on the validation set; every rank calls it.

    Attributes:
        model: As ``accelerator.prepare`` gave it.
        accelerator: The one that prepared it.
        examples: The whole validation set, on every rank.
        fitting: Limits of a micro-batch.
        exact_match: Returns the share of validation problems that the model solves.
    """

    model: Any
    accelerator: Accelerator
    examples: Sequence[Example]
    fitting: FittingLimits
    exact_match: Callable[[], float] | None = None

    def __call__(self, where: str) -> dict[str, float]:
        """Return loss (nats per supervised token), perplexity and exact match.

        The loss is the mean over all supervised tokens of the set, whatever the micro-batches.

        Args:
            where: Which validation it is, for messages.

        Raises:
            ValidationInterrupted: A signal came while problems were solved.
        """
        objective = SupervisedFineTuning()
        model = self.accelerator.unwrap_model(self.model)

        def summed(parts: MicroBatches[Example]) -> torch.Tensor:
            total = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
            for micro_batch, weight in parts:
                total += objective.loss_sum(model, micro_batch, self.fitting.limits) * weight
            return total

        was_training = model.training
        model.eval()
        with torch.no_grad(), attention_for(model, self.fitting.limits), onednn_linears(model):
            own = within_memory(
                self.fitting,
                lambda limits: micro_batches(self.examples, limits),
                summed,
                model=model,
                where=where,
            )
        model.train(was_training)
        total = self.accelerator.reduce(own, reduction="sum")
        loss = float(total) / objective.normaliser(self.examples)
        figures = {
            "eval_loss": loss,
            "eval_perplexity": math.exp(min(loss, 700.0)),  # e^710 overflows
        }
        if self.exact_match is not None:
            figures["eval_exact_match"] = self.exact_match()
        return figures
