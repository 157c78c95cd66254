"""Answers to training problems, sampled from the model in training and graded.

The model samples with the weights as they are, in place. What is sampled follows from the recipe's
seed, the number of problems drawn so far and the weights. So a resumed run samples what an
uninterrupted one would have.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import DataError
from mathtune.generation.engine import Decoding, Engine
from mathtune.generation.hf import HFEngine
from mathtune.generation.hf.memory import free_budget
from mathtune.learning.figures import Figures
from mathtune.learning.reward import Reward, reward
from mathtune.prompts.render import Renderer
from mathtune.records import Completion, Example, Problem, Prompt
from mathtune.training.objective import Start

log = logging.getLogger(__name__)

_SHARE_FOR_SAMPLING = 0.5
"""Of the memory that rows may take in evaluation: gradients and optimiser need the rest."""


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


class Sampler:
    """Draws problems in another random order in each epoch, and samples answers to them.

    Args:
        tasks: The training problems.
        engine: Decodes with the model in training.
        decoding: How, with the number of answers per problem.
        memory_budget: What the engine's rows may take, in bytes, kept for a resumed run.
        figures: Where rewards and lengths are added up; its state is saved with this one's.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        engine: Engine,
        decoding: Decoding,
        *,
        memory_budget: int,
        figures: Figures,
    ) -> None:
        self._tasks, self._engine, self._decoding = tasks, engine, decoding
        self._memory_budget, self._figures = memory_budget, figures
        self._drawn = 0
        self._order: tuple[int, list[int]] = (-1, [])  # of an epoch

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs."""
        return {
            "drawn": self._drawn,
            "memory_budget": self._memory_budget,
            "figures": self._figures.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with the problem after the last one drawn when ``state`` was taken."""
        self._drawn = int(state["drawn"])
        self._figures.restore(state["figures"])

    def draw(self, count: int) -> list[Group]:
        """Return the next problems with sampled answers, the same on each rank."""
        named = []
        for _ in range(count):
            epoch, place = divmod(self._drawn, len(self._tasks))
            if self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self._decoding.seed + epoch)
                order = torch.randperm(len(self._tasks), generator=generator).tolist()
                self._order = (epoch, order)
            task = self._tasks[self._order[1][place]]
            # Each drawing has random numbers of its own, even of one problem twice in a step.
            named.append((f"{task.problem.id}#{self._drawn}", task))
            self._drawn += 1
        groups = self.answers(named, self._decoding)
        for group in ranks.share(groups):
            self._note(group)
        return groups

    def answers(
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
        """Add a group to the figures, whether it is learned from or not."""
        rollouts, add = group.rollouts, self._figures.add
        count = len(rollouts)
        right = sum(each.reward.correct for each in rollouts)
        add("reward", right, count)
        add("solved_problems", right > 0)
        add("format_reward", sum(each.reward.well_formed for each in rollouts), count)
        add("completion_length", sum(len(each.completion.ids) for each in rollouts), count)
        add("truncated", sum(each.reward.truncated for each in rollouts), count)


def chosen_tokens(completion: Completion) -> tuple[bool, ...]:
    """Return for each token of an answer whether the model chose it, and not the calculator."""
    inserted = frozenset(completion.inserted_at)
    return tuple(index not in inserted for index in range(len(completion.ids)))


def tasks_with_room(recipe: Recipe, problems: Sequence[Problem], renderer: Renderer) -> list[Task]:
    """Return the problems whose prompt leaves room for an answer; the others are reported.

    Raises:
        DataError: None does, or one does not and ``train.overlong`` is ``error``.
    """
    train, longest = recipe.train, recipe.eval.max_new_tokens
    tasks = [Task(each, renderer.prompt(each.question, each.id)) for each in problems]
    kept = [task for task in tasks if len(task.prompt.ids) + longest <= train.max_length]
    dropped = len(tasks) - len(kept)
    if not kept or (dropped and train.overlong == "error"):
        most = max(len(task.prompt.ids) for task in tasks)
        raise DataError(
            f"{dropped:,} of {len(tasks):,} training problems have no room for an answer of "
            f"eval.max_new_tokens={longest} tokens within train.max_length={train.max_length} "
            f"(the longest question has {most}); raise train.max_length to {most + longest} "
            "or lower eval.max_new_tokens"
        )
    if dropped:
        log.info(
            f"{dropped:,} training problems without room for {longest} tokens of an answer left out"
        )
    return kept


def longest_text(task: Task, recipe: Recipe) -> Example:
    """Return the text of a prompt and an answer as long as allowed, which repeats the prompt.

    EOS alone would not show a model that mixes examples where EOS pads, and its embedding is 0.
    """
    prompt, length = task.prompt.ids, recipe.eval.max_new_tokens
    return Example(
        task.problem.id,
        prompt + tuple(itertools.islice(itertools.cycle(prompt), length)),
        (False,) * len(prompt) + (True,) * length,
        len(prompt),
    )


def engine_for(recipe: Recipe, start: Start, tokenizer: Any) -> tuple[HFEngine, int]:
    """Return an engine that samples from the model in training, and its memory budget in bytes."""
    # The number of rows changes rounding, so it must not follow the memory free at each step.
    saved = start.state.source.get("memory_budget")
    budget = saved or ranks.from_first(lambda: int(free_budget(start.model) * _SHARE_FOR_SAMPLING))
    rows = recipe.eval.batch_size
    return HFEngine(start.model, tokenizer, rows=rows, memory_budget_bytes=budget), budget


def decoding_of(recipe: Recipe, renderer: Renderer) -> Decoding:
    """Return how a model in training answers: as it is evaluated, but for the sampling."""
    settings = recipe.eval
    return Decoding(
        max_new_tokens=settings.max_new_tokens,
        stop=renderer.stop if settings.stop is None else tuple(settings.stop),
        calculator=settings.calculator,
    )
