"""What happens beside the training steps: metrics, progress, signals, the last validation."""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mathtune import ranks

TRAIN_KEYS = ("loss", "learning_rate", "grad_norm")
EVAL_KEYS = ("eval_loss", "eval_perplexity", "eval_exact_match")


class MetricsFile(TrainerCallback):
    """Appends every logged metric to ``metrics.jsonl``, a JSON object a line, flushed at once.

    Only ``seconds`` (since the start of this process's training) differs between two runs of one
    seed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = time.monotonic()

    def cut_after(self, step: int) -> None:
        """Drop lines of steps after the checkpoint that training continues from."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the line was being written when the process died
                continue
            if isinstance(record, dict) and record.get("step", math.inf) <= step:
                kept.append(line + "\n")
        aside = self.path.with_suffix(".tmp")
        aside.write_text("".join(kept), encoding="utf-8")
        aside.replace(self.path)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        keys = [key for key in (*TRAIN_KEYS, *EVAL_KEYS) if key in logs]
        if not keys or not state.is_world_process_zero:
            return
        record = {"step": state.global_step, "epoch": round(float(logs.get("epoch", 0.0)), 6)}
        record |= {key: float(logs[key]) for key in keys}
        if "loss" in logs:
            record["perplexity"] = math.exp(min(float(logs["loss"]), 700.0))
        record["seconds"] = round(time.monotonic() - self._start, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class ProgressBar(TrainerCallback):
    """Shows step, loss, rate and time left; a plain line a log where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: Any = None
        self._notes: dict[str, str] = {}
        self._first_step = 0
        self._start = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self._first_step, self._start = state.global_step, time.monotonic()
        self._task = self._progress.add_task(
            "training", total=state.max_steps, completed=state.global_step, note=""
        )
        if self._console.is_terminal:
            self._progress.start()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        rate = (state.global_step - self._first_step) / (time.monotonic() - self._start)
        self._notes["rate"] = f"{rate:.2f} steps/s"
        self._progress.update(
            self._task, completed=state.global_step, note="  ".join(self._notes.values())
        )

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            self._notes["loss"] = f"loss {float(logs['loss']):.4f}"
        if "eval_loss" in logs:
            self._notes["validation"] = f"validation {float(logs['eval_loss']):.4f}"
        if not self._console.is_terminal and ("loss" in logs or "eval_loss" in logs):
            left = ""
            done = state.global_step - self._first_step
            if done > 0:
                seconds = (time.monotonic() - self._start) / done
                left = f"  {seconds * (state.max_steps - state.global_step):.0f} s left"
            note = "  ".join(self._notes.values())
            self._console.print(f"step {state.global_step}/{state.max_steps}  {note}{left}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar off the screen."""
        self._progress.stop()


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
        self.trainer.restore_loss_window(self.checkpoint)


class StopOnSignal(TrainerCallback):
    """Turns SIGINT and SIGTERM into a checkpoint and an orderly end after the running step.

    A second signal of the same kind ends the process at once, as without this callback. Several
    ranks stop after the same step, and only by the first signal: a launcher passes on what the
    terminal has sent to all of them already.
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

    def agreed(self) -> int:
        """Return the signal that any of the ranks has received, or 0."""
        return ranks.largest(self.received or 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.agreed():
            control.should_save = True
            control.should_training_stop = True
        return control
