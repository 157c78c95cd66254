"""``train.objective: gkd``: puts problems, engine, teacher and loss together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.learning.distillation.loss import OnPolicyDistillation
from mathtune.learning.distillation.teacher import check_teacher, load_teacher
from mathtune.learning.figures import Figures
from mathtune.learning.rollouts import (
    Group,
    Sampler,
    Task,
    chosen_tokens,
    decoding_of,
    engine_for,
    longest_text,
    tasks_with_room,
)
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem
from mathtune.training.batching.limits import layout_for
from mathtune.training.objective import Start

log = logging.getLogger(__name__)


@dataclass
class Distillation:
    """Learning from a teacher on own answers; see ``training.objective.Learning``.

    Attributes:
        recipe: The recipe.
        problems: Its training problems, of which only the questions are used.
    """

    recipe: Recipe
    problems: Sequence[Problem]
    unit = "problem"
    steps_per_batch = 1
    _tasks: list[Task] = field(default_factory=list)
    _renderer: Renderer | None = None

    def prepare(self, renderer: Renderer) -> list[Example]:
        """Return, one per problem, a text of its prompt and an answer as long as allowed.

        Raises:
            ModelError: The teacher has another tokenizer.
            DataError: No problem leaves room for an answer.
        """
        check_teacher(self.recipe, renderer.tokenizer)
        self._renderer = renderer
        self._tasks = tasks_with_room(self.recipe, self.problems, renderer)
        return [longest_text(task, self.recipe) for task in self._tasks]

    def validation(self, renderer: Renderer) -> None:
        """Validation loss is measured on solutions."""

    def start(self, start: Start) -> tuple[OnPolicyDistillation, OwnAnswers]:
        """Return the objective, with the teacher loaded, and the source.

        Raises:
            ModelError: The teacher cannot be loaded.
        """
        renderer = self._renderer
        assert renderer is not None  # prepare was called
        teacher, figures = load_teacher(self.recipe), Figures()
        texts = [longest_text(task, self.recipe) for task in self._tasks]
        own = start.fitting.limits
        # Both read one layout: that of the model, unless the teacher would mix examples in it.
        start.fitting.limits, how = layout_for(own, teacher, texts, autocast_bf16=False)
        if start.fitting.limits != own:
            log.info(f"for the teacher's sake both models read {how}")
        engine, budget = engine_for(self.recipe, start, renderer.tokenizer)
        decoding = replace(
            decoding_of(self.recipe, renderer),
            temperature=self.recipe.gkd.temperature,
            samples=self.recipe.gkd.num_generations,
            seed=self.recipe.seed,
        )
        sampler = Sampler(self._tasks, engine, decoding, memory_budget=budget, figures=figures)
        source = OwnAnswers(sampler, len(self._tasks), start.state.examples_per_step)
        return OnPolicyDistillation(teacher, figures), source


class OwnAnswers:
    """A step source that samples; every answer is learned from, right or wrong.

    Args:
        sampler: Draws problems and samples answers.
        problems: How many there are.
        per_step: How many of them a step has.
    """

    def __init__(self, sampler: Sampler, problems: int, per_step: int) -> None:
        self._sampler, self._problems, self._per_step = sampler, problems, per_step
        self._steps = 0

    def next_step(self) -> list[Example]:
        """Return the answers of the next step."""
        self._steps += 1
        return [example for group in self._sampler.draw(self._per_step) for example in _of(group)]

    @property
    def epoch(self) -> float:
        """Steps taken, in units of those that one round over all problems takes."""
        whole, steps = divmod(self._steps, per_epoch := -(-self._problems // self._per_step))
        return whole + steps / per_epoch

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs."""
        return {**self._sampler.state(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which ``state`` was taken."""
        self._sampler.restore(state)
        self._steps = int(state["steps"])


def _of(group: Group) -> list[Example]:
    prompt = group.task.prompt.ids
    return [
        Example(
            group.task.problem.id,
            prompt + each.completion.ids,
            (False,) * len(prompt) + chosen_tokens(each.completion),
            len(prompt),
        )
        for each in group.rollouts
    ]
