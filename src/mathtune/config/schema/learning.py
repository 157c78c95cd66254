"""``grpo``, ``gkd``, ``dpo``, ``select`` and ``rft``: learning from a model's own answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mathtune.config.schema.section import Positive, Section


class GrpoConfig(Section):
    """Policy gradient on graded answers (``train.objective: grpo``); names as in
    ``trl.GRPOConfig``. Answers are as in ``eval``: ``max_new_tokens``, ``stop``, ``calculator``.
    """

    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers sampled per problem: a group, whose mean reward is what each is compared with."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of sampling, and of the probabilities in the loss."""
    num_iterations: Positive = 1
    """Optimiser steps on the answers sampled for one; above 1 the ratio is clipped."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far below 1 the ratio of new to old probability still counts (PPO's clip)."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """How far above 1, for example 0.28 (clip-higher, Yu et al. 2025); empty: as ``epsilon``."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL divergence from the model before training; 0: none."""
    scale_rewards: Literal["none", "group", "batch"] = "none"
    """Divide advantages by the rewards' standard deviation in the group or the step; ``none``: Dr.
    GRPO (Liu et al. 2025)."""
    leave_one_out: bool = False
    """Compare an answer with the mean of the others in its group (RLOO, Ahmadian et al. 2024)."""
    loss_type: Literal["dapo", "dr_grpo", "grpo"] = "dapo"
    """The sum over tokens is divided by the step's tokens; by answers × ``max_new_tokens``; or
    by each answer's tokens and the number of answers."""
    mask_truncated_completions: bool = False
    """Leave answers cut at ``max_new_tokens`` out of the loss; false: punish them as wrong."""
    format_reward_weight: Annotated[float, Field(ge=0)] = 0.0
    """Added to the reward of an answer that ends and marks its result, right or wrong."""
    max_refills: Annotated[int, Field(ge=0)] = 3
    """Groups all right or all wrong teach nothing and are dropped: sample other problems in their
    place at most this many times per step."""
    pass_rate_problems: Annotated[int, Field(ge=0)] = 64
    """Training problems solved before the first step, to refuse where hardly any answer or nearly
    every answer is right; 0: no such check."""


class GkdConfig(Section):
    """On-policy distillation (``train.objective: gkd``); names as in ``trl.GKDConfig``, with its
    ``lmbda`` and ``beta`` at 1: own answers only, reverse KL. Answers are as in ``eval``.
    """

    teacher_model_name_or_path: str | None = None
    """The teacher, held next to the model: a name or folder as for the model, with the same
    tokenizer."""
    teacher_revision: str | None = None
    """Its branch, tag or commit on the hub."""
    num_generations: Positive = 1
    """Answers sampled per problem."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of sampling; the divergence is that at temperature 1."""


class DpoConfig(Section):
    """Preference learning (``train.objective: dpo``), on pairs of a right and a wrong answer."""

    samples: str | None = None
    """JSONL file of graded samples, several per training problem: predictions of a run."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How far the model may move from the one before training: smaller is further."""
    rpo_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the right answer's negative log-likelihood per token (Pang et al. 2024), against
    both answers becoming unlikely; 0: DPO alone."""
    max_pairs: Positive = 4
    """Most pairs of one problem."""


class VerifierConfig(Section):
    """A model that says how likely an answer is right (``train.objective: verifier``)."""

    samples: str | None = None
    """JSONL file of graded samples, several per training problem: predictions of a run."""
    max_per_problem: Positive = 8
    """Most right, and as many wrong, answers of one problem."""


class SelectConfig(Section):
    """Which graded samples become training solutions; what ``mathtune select`` does."""

    max_per_problem: Positive = 10
    """Keep at most this many samples of a problem (10 as in ReST-EM, Singh et al. 2023)."""
    min_pass_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Drop the samples of problems that were solved less often, for example 0.2."""
    max_pass_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Drop the samples of problems that were solved more often, for example 0.8."""
    gold: bool = False
    """Mix in the published solution of every sampled problem."""

    @model_validator(mode="after")
    def _band(self) -> SelectConfig:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate={self.min_pass_rate:g} is above max_pass_rate="
                f"{self.max_pass_rate:g}; swap them"
            )
        return self


class RFTConfig(Section):
    """Rejection-sampling fine-tuning: train on own right answers (Yuan et al. 2023)."""

    rounds: Annotated[int, Field(ge=0)] = 0
    """0: off. In each round the last round's model, first the base, answers the training problems;
    the base is trained on the right answers of all rounds, chosen by ``select``."""
    samples: Annotated[int, Field(gt=0, le=10_000)] = 16
    """Samples per problem in each round."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Temperature of the samples."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the likeliest tokens that hold this probability."""
    calculator: bool = False
    """Let the calculator fill in results while sampling."""
