"""The loss of on-policy distillation: reverse KL divergence to a teacher, on sampled answers.

At each token that the model chose, its whole next-token distribution is compared with the
teacher's: KL(model ‖ teacher), exact over the vocabulary. The divergence is taken on answers of the
model itself, so it learns what to do where it goes, not where the teacher would (Agarwal et al.
2024, "GKD", with ``lmbda`` 1 and ``beta`` 1; Gu et al. 2024, "MiniLLM"). The answer's tokens count
as given: how the choice of a token changes later ones has no gradient, as in GKD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mathtune.learning.figures import Figures
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, collate, supervised_count
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.loss.reverse_kl import reverse_kl


@dataclass(frozen=True, slots=True)
class OnPolicyDistillation:
    """The mean divergence from the teacher over a step's chosen tokens.

    Attributes:
        teacher: The model to learn from, in evaluation mode.
        figures: Where the entropy is added up.
    """

    teacher: torch.nn.Module
    figures: Figures

    def normaliser(self, items: Sequence[Example]) -> float:
        """Return the number of chosen tokens."""
        return supervised_count(items)

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Example], limits: Limits
    ) -> torch.Tensor:
        """Return the summed divergence, in nats."""
        device = next(model.parameters()).device
        batch = collate(micro_batch, padding_free=limits.padding_free).to(device)
        with attention_for(self.teacher, limits):
            found = reverse_kl(model, batch, self.teacher, limits.max_supervised_tokens)
        self.figures.add("entropy", float(found.entropy_N.sum()), len(found.entropy_N))
        return found.divergence_N.sum()

    def metrics(self) -> dict[str, float]:
        """Return the figures of sampling and the entropy since the last training line."""
        return self.figures.means()
