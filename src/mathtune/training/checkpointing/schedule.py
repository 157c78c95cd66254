"""When the model is validated, and how a signal ends training."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from mathtune import ranks
from mathtune.config.schema import TrainConfig
from mathtune.training.checkpointing.state import TrainingState


class StopOnSignal:
    """Notes SIGINT and SIGTERM, for training to end after the running step.

    A second signal of the same kind ends the process at once, as without this. Several ranks stop
    after the same step, and only by the first signal: a launcher passes on what the terminal has
    sent to all of them already.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        if ranks.world_size() == 1:
            signal.signal(number, self._before[number])

    def came(self) -> bool:
        """Return whether this rank has received a signal."""
        return self.received is not None

    def agreed(self) -> int:
        """Return the signal that any of the ranks has received, or 0."""
        return ranks.largest(self.received or 0)


def validation_is_due(settings: TrainConfig, state: TrainingState) -> bool:
    """Return whether the model is validated after the step that was just done.

    The last step always is, also where it falls between two validations.
    """
    if state.global_step >= state.max_steps:
        return True
    if settings.eval_strategy == "epoch":
        return state.epoch.is_integer()
    return state.global_step % settings.eval_steps == 0
