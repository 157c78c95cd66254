"""What is seen of training: figures beside the loss, ``metrics.jsonl``, the progress bar."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mathtune.storage import write_text

TRAIN_KEYS = ("loss", "perplexity", "learning_rate", "grad_norm", "skipped_steps")
EVAL_KEYS = ("eval_loss", "eval_perplexity", "eval_exact_match")
VOLATILE_KEYS = ("tokens_per_second", "memory_gb", "gpu_memory_gb", "seconds")
"""What differs between two runs of one seed on one machine; all other keys do not."""


class RunFigures(TrainerCallback):
    """Adds perplexity, speed and memory to every training line, for the file and all trackers.

    Must come before callbacks that record. The figures go into what is logged and not into the
    trainer's state, so checkpoints of two runs of one seed stay the same.
    """

    def __init__(self) -> None:
        self.trainer: Any = None
        self._process = psutil.Process()
        self._began = self._seconds = 0.0
        self._tokens: int | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()
        if self._tokens is None:
            self._tokens = self.trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._seconds += time.monotonic() - self._began  # steps alone, validation is not speed

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if logs is None or "learning_rate" not in logs:
            return
        if "loss" in logs:
            logs["perplexity"] = math.exp(min(float(logs["loss"]), 700.0))  # e^710 overflows
        tokens = self.trainer.tokens_seen
        if self._seconds > 0 and self._tokens is not None:
            logs["tokens_per_second"] = round((tokens - self._tokens) / self._seconds, 1)
        self._tokens, self._seconds = tokens, 0.0
        logs["memory_gb"] = round(self._process.memory_info().rss / 2**30, 3)
        if torch.cuda.is_available():
            logs["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)


class MetricsFile(TrainerCallback):
    """Appends every logged metric to ``metrics.jsonl``, a JSON object a line, flushed at once.

    ``seconds`` count from the start of this process's training. Only ``VOLATILE_KEYS`` differ
    between two runs of one seed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = time.monotonic()

    def cut_after(self, step: int, *, validation_due: bool = False) -> None:
        """Drop what is not of the checkpoint that training continues from.

        Args:
            step: The checkpoint's; lines of later ones go.
            validation_due: Whether its own validation goes too, for it is done again.
        """
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the line was being written when the process died
                continue
            own = record.get("step", math.inf) if isinstance(record, dict) else math.inf
            if own < step or (own == step and not (validation_due and "eval_loss" in record)):
                kept.append(line + "\n")
        write_text(self.path, "".join(kept))

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
        keys += [key for key in VOLATILE_KEYS if key in logs and keys]
        if not keys or not state.is_world_process_zero:
            return
        record = {"step": state.global_step, "epoch": round(float(logs.get("epoch", 0.0)), 6)}
        record |= {key: float(logs[key]) for key in keys}
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
        self._shown = False
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
            self._shown = True

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
        if self._shown:  # Rich prints a blank line where a bar that was never shown is stopped
            self._progress.stop()
            self._shown = False
