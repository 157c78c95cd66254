"""Exact match inside the training loop: the same engine and grader on fixed validation problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mathtune import ranks
from mathtune.config.schema import EvalConfig
from mathtune.errors import ValidationInterrupted
from mathtune.evaluation.measure import Evaluable, decoding_of
from mathtune.generation.engine import Engine
from mathtune.grading import grade
from mathtune.records import CUT_OFF, Problem


class InterruptibleModel(Evaluable, Protocol):
    """A model in training, whose decoding can be interrupted."""

    def engine(self, interrupted: Callable[[], bool] = ...) -> Engine:
        """Return an engine that gives no further completion once it is interrupted."""
        ...


def validation_exact_match(
    model: InterruptibleModel,
    problems: Sequence[Problem],
    config: EvalConfig,
    interrupted: Callable[[], bool] = lambda: False,
) -> float:
    """Return the share of problems that the current model solves with greedy decoding.

    The calculator is as in the headline figures of ``config``. The model's training mode and the
    state of random generators are left as they were. The problems are divided among the ranks,
    each of which needs the whole model.

    Raises:
        ValidationInterrupted: On every rank, where one was ``interrupted`` before its last answer.
    """
    renderer = model.renderer()
    decoding = decoding_of(config, renderer, calculator=config.calculator)
    gold = {problem.id: problem.gold for problem in problems}
    own = ranks.share(problems)
    prompts = [renderer.prompt(problem.question, problem.id) for problem in own]
    right = answered = 0
    for completion in model.engine(interrupted).generate(prompts, decoding):
        finished = completion.stop_reason.value not in CUT_OFF
        right += grade(completion.text, gold[completion.problem_id], finished=finished).correct
        answered += 1
    if ranks.all_reduce_max(len(own) - answered):
        raise ValidationInterrupted
    return sum(ranks.gather(right)) / len(problems)
