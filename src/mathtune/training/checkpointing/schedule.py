"""When a checkpoint is written, and how training is left and taken up again.

Transformers ties saving to validation (``save_strategy: best``) or to an interval that must be a
multiple of the validations'. Here each has its own reason: the best weights after a validation, a
place to continue from every ``save_steps`` steps, and one more when a signal ends the run.

A checkpoint lies after the validation of its step, so that continuing from it repeats or leaves out
no validation. Where a signal cuts a long validation off, the checkpoint says that it is due, and
the next start begins with it.
"""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mathtune import ranks


class StopOnSignal:
    """Notes SIGINT and SIGTERM, for ``SavePoints`` to end training after the running step.

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


class SavePoints(TrainerCallback):
    """Asks for a checkpoint where one is due, besides those of better validations.

    Args:
        save_steps: Interval in steps.
        every_validation: Also after validations that were no better.
        stop: What knows of a signal.
    """

    def __init__(self, save_steps: int, every_validation: bool, stop: StopOnSignal) -> None:
        self._save_steps = save_steps
        self._every_validation = every_validation
        self._stop = stop
        self._after_validation = False
        self._stopping = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._stopping = self._stop.agreed() > 0
        if self._stopping or state.global_step % self._save_steps == 0:
            if _validates_next(args, state):
                self._after_validation = True
            else:
                control.should_save = True
        if self._stopping:
            control.should_training_stop = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._stopping and not _validates_next(args, state):
            control.should_evaluate = False  # the epoch was left in the middle
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step == 0:
            return control
        stopping = self._stop.agreed() > 0
        if self._every_validation or self._after_validation or stopping:
            control.should_save = True
            self._after_validation = False
        if stopping:  # it came while validating
            control.should_training_stop = True
        return control


def _validates_next(args: TrainingArguments, state: TrainerState) -> bool:
    """Return whether the validation at the end of an epoch follows on this step."""
    ends = float(state.epoch or 0.0).is_integer() or state.global_step >= state.max_steps
    return bool(args.eval_strategy == "epoch" and ends)


class LastStep(TrainerCallback):
    """Validates after the last step, also where it falls between two validation steps."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps and args.eval_strategy == "steps":
            control.should_evaluate = True
        return control


class RestoreWindow(TrainerCallback):
    """Puts the logged loss's running mean back when training continues from a checkpoint."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.restore(self.checkpoint)
