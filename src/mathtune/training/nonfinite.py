"""Steps whose loss or gradient is not finite: training stops, or the step is skipped and counted.

Skipping a step is as if its examples had not existed: no weight and no optimiser moment changes,
and its loss is in no logged mean. The schedule goes on, because it counts steps. The gradient is
checked after summing over ranks, so that all ranks decide alike.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mathtune.errors import TrainingStopped
from mathtune.training.batching.micro_batches import StepItem

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 10
"""This many skipped steps in a row are no accident: training stops anyway."""

NAMED = 32
"""At most this many problems are named in a message."""


class NonFiniteSteps:
    """Watches every step's losses and gradient norm.

    Args:
        skip: Skip such a step instead of stopping.

    Attributes:
        skipped: Steps skipped so far, over all restarts.
        last: Whether the last step was skipped.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skipped = 0
        self.last = False
        self._skip = skip
        self._in_a_row = 0
        self._in_window = 0  # since the loss was logged
        self._losses: list[tuple[torch.Tensor, Sequence[StepItem]]] = []

    def begin_step(self) -> None:
        """Forget the losses of the step before."""
        self._losses.clear()

    def note(self, loss: torch.Tensor, examples: Sequence[StepItem]) -> None:
        """Keep a micro-batch's loss to check when the step is complete.

        Args:
            loss: Of the micro-batch.
            examples: Those in it.
        """
        self._losses.append((loss.detach(), examples))

    def found(self, step: int, norm: float, on_ranks: Callable[[int], int]) -> bool:
        """Return whether a step must be skipped.

        Args:
            step: Its number.
            norm: Norm of its gradient, the same on all ranks.
            on_ranks: Returns the maximum over ranks.

        Raises:
            TrainingStopped: If such steps are not to be skipped, or too many came in a row.
        """
        bad = [examples for loss, examples in self._losses if not math.isfinite(float(loss))]
        self.last = on_ranks(int(bool(bad) or not math.isfinite(norm))) > 0
        if not self.last:
            self._in_a_row = 0
            return False
        self.skipped += 1
        self._in_window += 1
        self._in_a_row += 1
        what = "loss" if bad else "gradient"
        where = _named([e for part in bad or [part for _, part in self._losses] for e in part])
        if not self._skip:
            raise TrainingStopped(
                f"the {what} is not finite at step {step}{where}; the weights of the last "
                "checkpoint are untouched. Lower train.learning_rate, set train.max_grad_norm=1.0, "
                "or skip such steps with train.non_finite=skip, and give the command again"
            )
        if self._in_a_row >= MOST_IN_A_ROW:
            raise TrainingStopped(
                f"{self._in_a_row} steps in a row were skipped because loss or gradient was not "
                f"finite, the last of them step {step}{where}; the weights of the last checkpoint "
                "are untouched. Lower train.learning_rate or look at these problems, and give the "
                "command again"
            )
        log.info(f"step {step} skipped: the {what} is not finite{where}")
        return True

    def correct(self, logs: dict[str, float], window: int) -> None:
        """Log the mean loss over the steps that counted, and how many did not.

        Args:
            logs: Figures of a training line; changed in place.
            window: Steps since the last such line.
        """
        if self._in_window:
            logs["skipped_steps"] = self._in_window
            if self._in_window < window:
                logs["loss"] *= window / (window - self._in_window)
            else:
                del logs["loss"]
        if self.last:
            logs.pop("grad_norm", None)
        self._in_window = 0

    def state(self) -> dict[str, int]:
        """Return what a checkpoint must hold."""
        return {
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
            "in_window": self._in_window,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        self.skipped = state["skipped"]
        self._in_a_row, self._in_window = state["in_a_row"], state["in_window"]


def _named(examples: Sequence[StepItem]) -> str:
    ids = list(dict.fromkeys(example.problem_id for example in examples))
    if not ids:
        return ""  # on another rank
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f" on problems {', '.join(ids[:NAMED])}{more}"
