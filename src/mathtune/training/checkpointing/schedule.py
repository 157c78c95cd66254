"""When the model is validated, and how a signal ends training."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from mathtune import ranks
from mathtune.config.schema import TrainConfig
from mathtune.training.checkpointing.state import TrainingState


class StopOnSignal:
    """Records SIGINT and SIGTERM, so that training ends after the current step.

    A second signal of the same kind ends the process at once, as usual. Several ranks stop after
    the same step, and only on the first signal: a launcher forwards what the terminal has already
    sent to all of them.

    It is reported as soon as the signal comes. Python runs a handler only between two bytecodes,
    and a backward pass is one; a thread that the system's handler wakes through a pipe need not
    wait.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        reader, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._speaker = threading.Thread(target=_say_once, args=(reader,), daemon=True)
        self._speaker.start()
        self._pipe_before = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._pipe_before)
        os.close(self._pipe)  # ends the thread
        self._speaker.join()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        if ranks.world_size() == 1:
            signal.signal(number, self._before[number])

    def came(self) -> bool:
        """Return whether this rank has received a signal."""
        return self.received is not None

    def agreed(self) -> int:
        """Return the signal that any of the ranks has received, or 0."""
        return ranks.all_reduce_max(self.received or 0)


def _say_once(reader: int) -> None:
    """Wait for the number of a signal, byte by byte, and report what follows."""
    with open(reader, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] not in (signal.SIGINT, signal.SIGTERM) or not ranks.is_first():
                continue
            again = "; a second one ends the process at once" if ranks.world_size() == 1 else ""
            line = (
                f"{signal.Signals(number[0]).name}: stopping after this training step, with a "
                f"checkpoint{again}\n"
            )
            with contextlib.suppress(OSError):  # the terminal is gone
                # Not through Rich, whose lock the interrupted main thread may hold.
                os.write(2, (("\n" if os.isatty(2) else "") + line).encode())
            return


def validation_is_due(settings: TrainConfig, state: TrainingState) -> bool:
    """Return whether the model is validated after the step just done.

    It always is after the last step, even between two scheduled validations.
    """
    if state.global_step >= state.max_steps:
        return True
    if settings.eval_strategy == "epoch":
        return state.epoch.is_integer()
    return settings.eval_strategy == "steps" and state.global_step % settings.eval_steps == 0
