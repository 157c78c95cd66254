"""Direct preference optimisation (DPO, Rafailov et al. 2023), with an optional likelihood term.

The loss of a pair is -log sigmoid(beta * margin), where the margin is by how much more the model
has come to prefer the chosen answer to the rejected one than it did before training. DPO alone may
make both answers less likely, and a model repeat itself (trl#2382); the negative log-likelihood per
token of the chosen answer, times ``rpo_alpha``, holds against that (Pang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from mathtune import ranks
from mathtune.config.schema import DpoConfig
from mathtune.learning.figures import Figures
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.loss.logprobs import target_logprobs


@dataclass(frozen=True, slots=True)
class Pair:
    """A right and a wrong answer to one problem.

    Attributes:
        chosen: The right one with its prompt.
        rejected: The wrong one with the same prompt.
        reference: Log-probability of each before training.
    """

    chosen: Example
    rejected: Example
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def problem_id(self) -> str:
        """The problem's id."""
        return self.chosen.problem_id

    @property
    def texts(self) -> tuple[Example, Example]:
        """Both answers, the chosen one first."""
        return self.chosen, self.rejected

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each answer with its prompt."""
        return len(self.chosen.ids), len(self.rejected.ids)

    @property
    def targets(self) -> int:
        """Number of tokens of both answers."""
        return self.chosen.targets + self.rejected.targets


@dataclass(frozen=True, slots=True)
class DirectPreference:
    """The mean loss of a step's pairs.

    Attributes:
        config: The recipe's ``dpo`` section.
        figures: Where margins and accuracy are added up.
    """

    config: DpoConfig
    figures: Figures

    def normaliser(self, items: Sequence[Pair]) -> float:
        """Return the number of pairs."""
        return len(items)

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Pair], limits: Limits
    ) -> torch.Tensor:
        """Return the summed loss of a micro-batch of P pairs."""
        device = next(model.parameters()).device
        texts = [text for pair in micro_batch for text in pair.texts]
        batch = collate(texts, padding_free=limits.padding_free).to(device)
        chunk = limits.max_supervised_tokens if ranks.sharding() is None else None
        logprobs_N = target_logprobs(model, batch, chunk=chunk).logprobs_N
        sums = [each.sum() for each in logprobs_N.split([text.targets for text in texts])]
        logprobs_P2 = torch.stack(sums).view(-1, 2)
        reference_P2 = torch.tensor([pair.reference for pair in micro_batch], device=device)
        rewards_P2 = self.config.beta * (logprobs_P2 - reference_P2)
        margins_P = rewards_P2[:, 0] - rewards_P2[:, 1]
        losses_P = -logsigmoid(margins_P)
        if self.config.rpo_alpha:
            tokens_P = torch.tensor([pair.chosen.targets for pair in micro_batch], device=device)
            losses_P = losses_P - self.config.rpo_alpha * logprobs_P2[:, 0] / tokens_P
        with torch.no_grad():
            for name, values_P in (
                ("reward_margin", margins_P),
                ("reward_accuracy", margins_P > 0),
                ("reward_chosen", rewards_P2[:, 0]),
                ("reward_rejected", rewards_P2[:, 1]),
            ):
                self.figures.add(name, float(values_P.sum()), len(micro_batch))
        return losses_P.sum()

    def metrics(self) -> dict[str, float]:
        """Return margins, accuracy and both rewards since the last training line."""
        return self.figures.means()
