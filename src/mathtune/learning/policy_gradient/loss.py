"""Policy gradient on graded answers: GRPO (Shao et al. 2024) and its simpler descendants.

An answer's advantage is its reward minus the mean reward of its group, the answers to the same
problem. The loss weighs each sampled token's log-probability by it. Tokens that the calculator
wrote were not chosen by the model and are no part of the loss. By default nothing is divided by a
standard deviation (Dr. GRPO, Liu et al. 2025), the sum over tokens is divided by the step's number
of tokens (DAPO, Yu et al. 2025), and there is no KL term.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from mathtune import ranks
from mathtune.config.schema import GrpoConfig
from mathtune.learning.figures import Figures
from mathtune.training.batching.micro_batches import Limits, collate, supervised_count
from mathtune.training.loss.logprobs import target_logprobs

_STD_FLOOR = 1e-4
"""Added to a standard deviation before dividing by it, as in TRL."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A sampled answer with its advantage; per action means per token that the model chose.

    Attributes:
        problem_id: The problem it answers.
        ids: Token ids of prompt and answer.
        supervised: One flag per token: True for the model's actions.
        advantage: What each action's log-probability is weighed by.
        sampled: Log-probability of each action when it was sampled, at temperature 1; empty once
            the model has been changed since.
        old: Its log-probability before the first step on this batch, at the sampling temperature;
            empty where that step is the only one.
        reference: The same under the model from before training; empty without a KL term.
    """

    problem_id: str
    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    advantage: float
    sampled: tuple[float, ...] = ()
    old: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """Its number of tokens, prompt included."""
        return (len(self.ids),)

    @property
    def targets(self) -> int:
        """Its number of actions."""
        return sum(self.supervised)


def advantages(groups: Sequence[Sequence[float]], config: GrpoConfig) -> list[list[float]]:
    """Return the advantage of each answer, from the rewards of each group."""
    result = []
    rewards = list(chain.from_iterable(groups))
    of_batch = statistics.stdev(rewards) if len(rewards) > 1 else 0.0
    for group in groups:
        mean = statistics.fmean(group)
        # r - mean of the others = (r - mean of all) * n / (n - 1)
        scale = len(group) / (len(group) - 1) if config.leave_one_out else 1.0
        if config.scale_rewards != "none":
            of_group = config.scale_rewards == "group"
            scale /= (statistics.stdev(group) if of_group else of_batch) + _STD_FLOOR
        result.append([(reward - mean) * scale for reward in group])
    return result


@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """The clipped, advantage-weighted loss over the actions of a step.

    Attributes:
        config: The recipe's ``grpo`` section.
        max_new_tokens: Longest answer.
        figures: Where entropy, KL and the like are added up.
    """

    config: GrpoConfig
    max_new_tokens: int
    figures: Figures

    def normaliser(self, items: Sequence[Answer]) -> float:
        """Return the step's number of actions, or what ``loss_type`` asks for."""
        if self.config.loss_type == "dapo":
            return supervised_count(items)
        per_answer = self.max_new_tokens if self.config.loss_type == "dr_grpo" else 1
        return len(items) * per_answer

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Answer], limits: Limits
    ) -> torch.Tensor:
        """Return the summed loss over a micro-batch's N actions."""
        config, device = self.config, next(model.parameters()).device
        batch = collate(micro_batch, padding_free=limits.padding_free).to(device)
        chunk = limits.max_supervised_tokens if ranks.sharding() is None else None
        now = target_logprobs(model, batch, config.temperature, chunk)

        def per_action(values: Sequence[Sequence[float]]) -> torch.Tensor:
            return torch.tensor(list(chain.from_iterable(values)), device=device)

        advantage_N = per_action([[a.advantage] * a.targets for a in micro_batch])
        if config.num_iterations > 1:
            old_N = per_action([a.old for a in micro_batch])
        else:
            old_N = now.logprobs_N.detach()  # the ratio is 1, and its gradient the policy's
        ratio_N = (now.logprobs_N - old_N).exp()
        high = config.epsilon if config.epsilon_high is None else config.epsilon_high
        clipped_N = ratio_N.clamp(1 - config.epsilon, 1 + high)
        loss_N = -torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
        count = len(loss_N)
        if config.beta:
            # An estimate of the KL divergence that is never negative (Schulman 2020, k3).
            away_N = per_action([a.reference for a in micro_batch]) - now.logprobs_N
            kl_N = away_N.exp() - away_N - 1
            loss_N = loss_N + config.beta * kl_N
            self.figures.add("kl", float(kl_N.detach().sum()), count)
        if config.loss_type == "grpo":
            loss_N = loss_N / per_action([[float(a.targets)] * a.targets for a in micro_batch])
        with torch.no_grad():
            self.figures.add("entropy", float(now.entropy_N.sum()), count)
            if config.num_iterations > 1:
                bound_N = ratio_N * advantage_N > clipped_N * advantage_N
                self.figures.add("clip_ratio", int(bound_N.sum()), count)
            if micro_batch[0].sampled:
                gap_N = now.plain_N - per_action([a.sampled for a in micro_batch])
                self.figures.add("logprob_gap", float(gap_N.abs().sum()), count)
        return loss_N.sum()

    def metrics(self) -> dict[str, float]:
        """Return the figures of sampling and of the loss since the last training line."""
        return self.figures.means()
