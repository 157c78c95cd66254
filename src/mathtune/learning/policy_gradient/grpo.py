"""``train.objective: grpo``: puts problems, engine, reward and loss together."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.learning.figures import Figures
from mathtune.learning.policy_gradient.loss import Answer, PolicyGradient
from mathtune.learning.policy_gradient.rollouts import SampledAnswers, Scores
from mathtune.learning.reward import check_pass_rate, rewardable
from mathtune.learning.rollouts import (
    Task,
    decoding_of,
    engine_for,
    longest_text,
    tasks_with_room,
)
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem
from mathtune.training.loss.supervised import token_logprobs
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.objective import Start

log = logging.getLogger(__name__)


@dataclass
class GroupRelative:
    """Learning by policy gradient; see ``training.objective.Learning``.

    Attributes:
        recipe: The recipe.
        problems: Its training problems.
    """

    recipe: Recipe
    problems: Sequence[Problem]
    unit = "problem"
    _tasks: list[Task] = field(default_factory=list)
    _renderer: Renderer | None = None

    @property
    def steps_per_batch(self) -> int:
        """How many optimiser steps each batch of problems is used for."""
        return self.recipe.grpo.num_iterations

    def prepare(self, renderer: Renderer) -> list[Example]:
        """Return, one per problem, a text of its prompt and an answer as long as allowed.

        Raises:
            DataError: If no problem rewards its own solution, or none leaves room for an answer.
        """
        self._renderer = renderer
        self._tasks = tasks_with_room(self.recipe, rewardable(self.problems), renderer)
        return [longest_text(task, self.recipe) for task in self._tasks]

    def validation(self, renderer: Renderer) -> None:
        """Validation loss is measured on solutions."""

    def start(self, start: Start) -> tuple[PolicyGradient, SampledAnswers]:
        """Return the objective and the source; before the first step, check the pass rate.

        Raises:
            TrainingStopped: If hardly any answer is right, or nearly all are.
        """
        recipe, model, renderer = self.recipe, start.model, self._renderer
        assert renderer is not None  # prepare was called
        config, settings = recipe.grpo, recipe.eval
        engine, budget = engine_for(recipe, start, renderer.tokenizer)
        figures = Figures()
        source = SampledAnswers(
            self._tasks,
            engine,
            decoding_of(recipe, renderer),
            config,
            problems_per_step=start.state.examples_per_step,
            seed=recipe.seed,
            memory_budget=budget,
            figures=figures,
            old=_scores(lambda: _as_it_is(model), start.fitting, config.temperature),
            reference=_scores(_reference(recipe, model), start.fitting, config.temperature),
        )
        if start.state.global_step == 0 and not start.state.source and config.pass_rate_problems:
            rewards = source.sample_rewards(config.pass_rate_problems)
            check_pass_rate(rewards, settings.max_new_tokens)
        return PolicyGradient(config, settings.max_new_tokens, figures), source


Model = Callable[[], Any]
"""Returns a context in which the model to score with is given."""


@contextmanager
def _as_it_is(model: Any) -> Iterator[Any]:
    yield model


def _reference(recipe: Recipe, model: Any) -> Model:
    """Return the model from before training: without its adapter, or else a copy."""
    if not recipe.grpo.beta:
        return lambda: _as_it_is(model)  # never used
    if hasattr(model, "disable_adapter"):

        @contextmanager
        def without_adapter() -> Iterator[Any]:
            with model.disable_adapter():
                yield model

        return without_adapter
    log.info("grpo.beta above 0 without an adapter: a copy of the weights is held for reference")
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    return lambda: _as_it_is(frozen)


def _scores(of: Model, fitting: FittingLimits, temperature: float) -> Scores:
    def scores(answers: Sequence[Answer]) -> list[tuple[float, ...]]:
        with of() as model:
            each = token_logprobs(model, answers, fitting.limits, temperature=temperature)
            return [
                tuple(v for v, own in zip(values, answer.supervised, strict=True) if own)
                for answer, values in zip(answers, each, strict=True)
            ]

    return scores
