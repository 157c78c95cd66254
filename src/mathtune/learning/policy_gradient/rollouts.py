"""Answers sampled from the model in training, graded, and grouped into optimiser steps.

The model samples with the weights as they are, in place. Groups whose answers are all right or all
wrong have no advantage and are dropped; other problems are sampled in their place, within limits.
What is sampled follows from the recipe's seed, the number of problems drawn so far and the weights.
So a resumed run samples what an uninterrupted one would have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from mathtune import progress, ranks
from mathtune.config.schema import GrpoConfig
from mathtune.errors import TrainingStopped
from mathtune.generation.engine import Decoding, Engine
from mathtune.learning.figures import Figures
from mathtune.learning.policy_gradient.loss import Answer, advantages
from mathtune.learning.policy_gradient.reward import Reward, reward
from mathtune.records import Completion, Problem, Prompt

log = logging.getLogger(__name__)

MOST_ROUNDS = 10
"""So many rounds of sampling are made for a step as long as not one group of it can be used."""

PASS_RATE_SAMPLES = 4
"""Answers per problem that measure the pass rate before the first step."""

Scores = Callable[[Sequence[Answer]], list[tuple[float, ...]]]
"""Returns the log-probability of each action of each answer."""


@dataclass(frozen=True, slots=True)
class Task:
    """A training problem with its prompt."""

    problem: Problem
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer: its tokens and what it is worth."""

    completion: Completion
    reward: Reward


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one problem."""

    task: Task
    rollouts: tuple[Rollout, ...]

    def values(self, config: GrpoConfig) -> list[float]:
        """Return the rewards."""
        return [each.reward.value(config.format_reward_weight) for each in self.rollouts]

    def is_alike(self, config: GrpoConfig) -> bool:
        """Return whether all rewards are the same, or no answer may be learned from."""
        return len(set(self.values(config))) == 1 or not any(
            is_used(each, config) for each in self.rollouts
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
        self._tasks, self._engine, self._config = tasks, engine, config
        self._per_step, self._seed, self._figures = problems_per_step, seed, figures
        self._memory_budget = memory_budget
        self._scores = {"old": old, "reference": reference}
        self._decoding = replace(
            decoding,
            temperature=config.temperature,
            samples=config.num_generations,
            seed=seed,
            logprobs=True,
        )
        self._steps = self._drawn = 0
        self._order: tuple[int, list[int]] = (-1, [])  # of an epoch
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
            "steps": self._steps,
            "drawn": self._drawn,
            "memory_budget": self._memory_budget,
            "batch": [asdict(answer) for answer in self._batch] if between else [],
            "figures": self._figures.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which ``state`` was taken."""
        self._steps, self._drawn = int(state["steps"]), int(state["drawn"])
        self._batch = [_from_json(answer) for answer in state["batch"]]
        self._figures.restore(state["figures"])

    def sample_rewards(self, problems: int) -> list[tuple[Reward, ...]]:
        """Return the rewards of a few answers to some of the problems, for the pass rate."""
        generator = torch.Generator().manual_seed(self._seed)
        chosen = torch.randperm(len(self._tasks), generator=generator).tolist()[:problems]
        few = min(PASS_RATE_SAMPLES, self._config.num_generations)
        named = [(f"{self._tasks[i].problem.id}#pass-rate", self._tasks[i]) for i in chosen]
        with progress.bar("pass rate before training", len(ranks.share(named)) * few) as bar:
            groups = self._answers(named, replace(self._decoding, samples=few), bar.update)
        return [tuple(each.reward for each in group.rollouts) for group in groups]

    def _sample_batch(self) -> list[Answer]:
        config = self._config
        live: list[Group] = []
        alike: list[Group] = []
        rounds = 0
        while len(live) < self._per_step and rounds < (
            1 + config.max_refills if live else max(MOST_ROUNDS, 1 + config.max_refills)
        ):
            for group in self._draw(self._per_step - len(live)):
                (alike if group.is_alike(config) else live).append(group)
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

    def _draw(self, count: int) -> list[Group]:
        """Sample the next problems in the order of their epoch."""
        named = []
        for _ in range(count):
            epoch, place = divmod(self._drawn, len(self._tasks))
            if self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self._seed + epoch)
                order = torch.randperm(len(self._tasks), generator=generator).tolist()
                self._order = (epoch, order)
            task = self._tasks[self._order[1][place]]
            # Each drawing has random numbers of its own, even of one problem twice in a step.
            named.append((f"{task.problem.id}#{self._drawn}", task))
            self._drawn += 1
        groups = self._answers(named, self._decoding)
        for group in ranks.share(groups):
            self._note(group)
        return groups

    def _answers(
        self,
        named: Sequence[tuple[str, Task]],
        decoding: Decoding,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[Group]:
        """Sample answers to tasks, each rank its share; return all, the same on each rank."""
        own = dict(ranks.share(named))
        prompts = [replace(task.prompt, problem_id=name) for name, task in own.items()]
        made: dict[str, list[Rollout]] = {name: [] for name in own}
        completions = self._engine.generate(prompts, decoding)
        for done, completion in enumerate(completions, 1):
            name = completion.problem_id
            verdict = reward(completion, own[name].problem.gold)
            made[name].append(Rollout(replace(completion, seconds=0.0), verdict))
            on_done(done)
        everywhere = {name: each for part in ranks.gather(made) for name, each in part.items()}
        return [
            Group(task, tuple(sorted(everywhere[name], key=lambda each: each.completion.sample)))
            for name, task in named
        ]

    def _note(self, group: Group) -> None:
        """Add a group to the figures, used or not."""
        rollouts, add = group.rollouts, self._figures.add
        count = len(rollouts)
        right = sum(each.reward.correct for each in rollouts)
        add("reward", right, count)
        add("solved_problems", right > 0)
        add("format_reward", sum(each.reward.well_formed for each in rollouts), count)
        add("completion_length", sum(len(each.completion.ids) for each in rollouts), count)
        add("truncated", sum(each.reward.truncated for each in rollouts), count)
        add("dead_groups", int(group.is_alike(self._config)))

    def _answers_of(self, groups: Sequence[Group]) -> Iterator[Answer]:
        """Yield the answers to learn from, with their advantages."""
        weights = advantages([group.values(self._config) for group in groups], self._config)
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
    inserted = frozenset(completion.inserted_at)
    chosen = [index not in inserted for index in range(len(completion.ids))]
    return Answer(
        problem_id=task.problem.id,
        ids=task.prompt.ids + completion.ids,
        supervised=(False,) * len(task.prompt.ids) + tuple(chosen),
        advantage=advantage,
        sampled=tuple(value for value, own in zip(completion.logprobs, chosen, strict=True) if own),
    )
