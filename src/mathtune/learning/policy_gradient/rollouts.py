"""Groups of sampled answers as optimiser steps.

Groups whose answers are all right or all wrong have no advantage and are dropped; other problems
are sampled in their place, within limits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from mathtune import progress, ranks
from mathtune.config.schema import GrpoConfig
from mathtune.errors import TrainingStopped
from mathtune.generation.engine import Decoding, Engine
from mathtune.learning.figures import Figures
from mathtune.learning.policy_gradient.loss import Answer, advantages
from mathtune.learning.reward import Reward
from mathtune.learning.rollouts import Group, Rollout, Sampler, Task, chosen_tokens
from mathtune.records import Completion

log = logging.getLogger(__name__)

MOST_ROUNDS = 10
"""So many rounds of sampling are made for a step as long as not one group of it can be used."""

PASS_RATE_SAMPLES = 4
"""Answers per problem that measure the pass rate before the first step."""

Scores = Callable[[Sequence[Answer]], list[tuple[float, ...]]]
"""Returns the log-probability of each action of each answer."""


def values(group: Group, config: GrpoConfig) -> list[float]:
    """Return the rewards of a group."""
    return [each.reward.value(config.format_reward_weight) for each in group.rollouts]


def is_alike(group: Group, config: GrpoConfig) -> bool:
    """Return whether all rewards are the same, or no answer may be learned from."""
    return len(set(values(group, config))) == 1 or not any(
        is_used(each, config) for each in group.rollouts
    )


def is_used(rollout: Rollout, config: GrpoConfig) -> bool:
    """Return whether an answer takes part in the loss, and not only in its group's mean."""
    return not (config.mask_truncated_completions and rollout.reward.truncated)


class SampledAnswers:
    """A step source that samples.

    Args:
        tasks: The training problems.
        engine: Decodes with the model in training.
        decoding: Length, stop strings and calculator; samples and seed are set here.
        config: The recipe's ``grpo`` section.
        problems_per_step: How many groups a step should have.
        seed: The recipe's.
        memory_budget: What the engine's rows may take, in bytes, kept for a resumed run.
        figures: Where rewards and lengths are added up; its state is saved with this source's.
        old: Scores under the model in training, for several steps per batch.
        reference: Scores under the model from before training, for a KL term.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        engine: Engine,
        decoding: Decoding,
        config: GrpoConfig,
        *,
        problems_per_step: int,
        seed: int,
        memory_budget: int,
        figures: Figures,
        old: Scores,
        reference: Scores,
    ) -> None:
        self._tasks, self._config = tasks, config
        self._per_step, self._seed, self._figures = problems_per_step, seed, figures
        self._scores = {"old": old, "reference": reference}
        self._decoding = replace(
            decoding,
            temperature=config.temperature,
            samples=config.num_generations,
            seed=seed,
            logprobs=True,
        )
        self._sampler = Sampler(
            tasks, engine, self._decoding, memory_budget=memory_budget, figures=figures
        )
        self._steps = 0
        self._batch: list[Answer] = []

    def next_step(self) -> list[Answer]:
        """Return the answers of the next step; none if no problem has both right and wrong ones.

        Raises:
            TrainingStopped: If that is so at the first step.
        """
        again = self._steps % self._config.num_iterations
        if not again:
            self._batch = self._sample_batch()
        if self._batch:
            self._steps += 1
        # The model has changed since they were sampled.
        return [replace(answer, sampled=()) for answer in self._batch] if again else self._batch

    @property
    def epoch(self) -> float:
        """Steps taken, in units of those that one round over all problems would take."""
        per_epoch = -(-len(self._tasks) // self._per_step) * self._config.num_iterations
        whole, steps = divmod(self._steps, per_epoch)
        return whole + steps / per_epoch

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs; between two steps on one batch, that batch as well."""
        between = self._steps % self._config.num_iterations
        return {
            **self._sampler.state(),
            "steps": self._steps,
            "batch": [asdict(answer) for answer in self._batch] if between else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which ``state`` was taken."""
        self._sampler.restore(state)
        self._steps = int(state["steps"])
        self._batch = [_from_json(answer) for answer in state["batch"]]

    def sample_rewards(self, problems: int) -> list[tuple[Reward, ...]]:
        """Return the rewards of a few answers to some of the problems, for the pass rate."""
        generator = torch.Generator().manual_seed(self._seed)
        chosen = torch.randperm(len(self._tasks), generator=generator).tolist()[:problems]
        few = min(PASS_RATE_SAMPLES, self._config.num_generations)
        named = [(f"{self._tasks[i].problem.id}#pass-rate", self._tasks[i]) for i in chosen]
        with progress.bar("pass rate before training", len(ranks.share(named)) * few) as bar:
            fewer = replace(self._decoding, samples=few)
            groups = self._sampler.answers(named, fewer, bar.update)
        return [tuple(each.reward for each in group.rollouts) for group in groups]

    def _sample_batch(self) -> list[Answer]:
        config = self._config
        live: list[Group] = []
        alike: list[Group] = []
        rounds = 0
        while len(live) < self._per_step and rounds < (
            1 + config.max_refills if live else max(MOST_ROUNDS, 1 + config.max_refills)
        ):
            for group in self._drawn(self._per_step - len(live)):
                (alike if is_alike(group, config) else live).append(group)
            rounds += 1
        if not live:
            return self._nothing_to_learn(alike)
        answers = list(self._answers_of(live))
        if config.num_iterations > 1:
            answers = self._scored(answers, "old")
        return self._scored(answers, "reference") if config.beta else answers

    def _nothing_to_learn(self, groups: Sequence[Group]) -> list[Answer]:
        """Say why there is no step; nothing is left to learn, or has been from the start."""
        right = sum(group.rollouts[0].reward.correct for group in groups)
        what = (
            f"each of {len(groups):,} groups of {self._config.num_generations} answers has equal "
            f"rewards ({right:,} all right, {len(groups) - right:,} all wrong), so there is "
            "nothing to learn from"
        )
        advice = "give harder problems" if 2 * right > len(groups) else "give easier problems"
        advice += ", or raise grpo.num_generations or grpo.temperature"
        if self._steps == 0:
            raise TrainingStopped(f"before the first step {what}; {advice}")
        log.warning(f"training ends after step {self._steps}: {what}; to go on, {advice}")
        return []

    def _drawn(self, count: int) -> list[Group]:
        groups = self._sampler.draw(count)
        for group in ranks.share(groups):
            self._figures.add("dead_groups", is_alike(group, self._config))
        return groups

    def _answers_of(self, groups: Sequence[Group]) -> Iterator[Answer]:
        """Yield the answers to learn from, with their advantages."""
        weights = advantages([values(group, self._config) for group in groups], self._config)
        for group, own in zip(groups, weights, strict=True):
            for rollout, advantage in zip(group.rollouts, own, strict=True):
                if is_used(rollout, self._config):
                    yield _answer(group.task, rollout.completion, advantage)

    def _scored(self, answers: Sequence[Answer], field: str) -> list[Answer]:
        """Return the answers with scores of each rank's share."""
        own = self._scores[field](ranks.share(answers))
        parts = [iter(part) for part in ranks.gather(own)]
        scored = []
        for index, answer in enumerate(answers):
            score: dict[str, Any] = {field: next(parts[index % len(parts)])}
            scored.append(replace(answer, **score))
        return scored


def _from_json(saved: dict[str, Any]) -> Answer:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return Answer(**given)


def _answer(task: Task, completion: Completion, advantage: float) -> Answer:
    assert completion.logprobs is not None  # the decoding asks for them
    chosen = chosen_tokens(completion)
    return Answer(
        problem_id=task.problem.id,
        ids=task.prompt.ids + completion.ids,
        supervised=(False,) * len(task.prompt.ids) + chosen,
        advantage=advantage,
        sampled=tuple(value for value, own in zip(completion.logprobs, chosen, strict=True) if own),
    )
