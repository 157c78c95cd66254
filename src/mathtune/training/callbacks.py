"""What training shows: figures besides the loss, ``metrics.jsonl``, the progress bar."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from pathlib import Path
from typing import Protocol

import psutil
import torch

from mathtune import progress, ranks
from mathtune.storage import write_text
from mathtune.text.counts import percent

log = logging.getLogger(__name__)

TRAIN_KEYS = ("loss", "perplexity", "learning_rate", "grad_norm", "skipped_steps")
EVAL_KEYS = ("eval_loss", "eval_perplexity", "eval_exact_match")
VOLATILE_KEYS = ("tokens_per_second", "memory_gb", "gpu_memory_gb", "seconds")
"""Keys that differ between two runs with one seed on one machine; no others do."""


class Recorder(Protocol):
    """Receives all figures of a training; called on every rank."""

    def start(self) -> None:
        """Start, before the first figures."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a training line or a validation, ``epoch`` included."""

    def finish(self) -> None:
        """Finish, if training did not fail."""


class RunFigures:
    """Adds perplexity, speed and memory to every training line.

    They go to recorders and not into the training state, so that checkpoints of two runs with one
    seed stay the same.

    Args:
        perplexity: Whether the loss is a mean negative log-likelihood.
    """

    def __init__(self, *, perplexity: bool = True) -> None:
        self._perplexity = perplexity
        self._process = psutil.Process()
        self._began = self._seconds = 0.0
        self._first_start = time.monotonic()
        self._tokens: int | None = None

    def start(self, seconds: float) -> None:
        """Start the clock of the whole training, which earlier starts left at ``seconds``."""
        self._first_start = time.monotonic() - seconds

    def seconds(self) -> float:
        """Return the seconds of the whole training so far, over all starts."""
        return time.monotonic() - self._first_start

    def step_begins(self, tokens_seen: int) -> None:
        """Start the clock; only steps are timed, not validation."""
        self._began = time.monotonic()
        if self._tokens is None:
            self._tokens = tokens_seen

    def step_ends(self) -> None:
        """Stop the clock."""
        self._seconds += time.monotonic() - self._began

    def added_to(self, figures: dict[str, float], tokens_seen: int) -> dict[str, float]:
        """Return a training line's figures plus ours; those of a validation unchanged."""
        if "learning_rate" not in figures:
            return figures
        figures = dict(figures)
        if "loss" in figures and self._perplexity:
            figures["perplexity"] = math.exp(min(figures["loss"], 700.0))  # e^710 overflows
        if self._seconds > 0 and self._tokens is not None:
            rate = (tokens_seen - self._tokens) / self._seconds
            figures["tokens_per_second"] = round(rate, 1)
        self._tokens, self._seconds = tokens_seen, 0.0
        figures["memory_gb"] = round(self._process.memory_info().rss / 2**30, 3)
        if torch.cuda.is_available():
            figures["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        return figures


class MetricsFile:
    """Appends every logged metric to ``metrics.jsonl``, one JSON object per line, flushed at once.

    ``seconds`` are those of training, summed over all starts. Only ``VOLATILE_KEYS`` differ between
    two runs with one seed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds_before = 0.0
        self._start = time.monotonic()

    def cut_after(self, step: int, *, validation_due: bool = False) -> float:
        """Drop lines later than the checkpoint that training continues from.

        Args:
            step: The checkpoint's step; lines of later steps are dropped.
            validation_due: Whether to drop its own validation too, because it is repeated.

        Returns:
            Seconds of training until the last line, dropped ones included: they were spent.
        """
        if not self.path.exists():
            return 0.0
        kept, seconds = [], 0.0
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the line was being written when the process died
                continue
            if not isinstance(record, dict):
                continue
            seconds = max(seconds, record.get("seconds", 0.0))
            own = record.get("step", math.inf)
            if own < step or (own == step and not (validation_due and "eval_loss" in record)):
                kept.append(line + "\n")
        write_text(self.path, "".join(kept))
        return seconds

    def start(self) -> None:
        """Start the clock; the first line opens the file."""
        self._start = time.monotonic() - self.seconds_before

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Append a line, on rank 0."""
        if not ranks.is_first():
            return
        known = (*TRAIN_KEYS, *EVAL_KEYS)
        keys = [key for key in known if key in figures]
        keys += [key for key in figures if key not in (*known, *VOLATILE_KEYS, "epoch")]
        keys += [key for key in VOLATILE_KEYS if key in figures]
        record = {"step": step, "epoch": round(float(figures.get("epoch", 0.0)), 6)}
        record |= {key: float(figures[key]) for key in keys}
        record["seconds"] = round(time.monotonic() - self._start, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def finish(self) -> None:
        """Do nothing: every line is flushed."""


class TrainingProgress:
    """Shows step, loss, rate and time left; as log lines where bars cannot move."""

    def __init__(self) -> None:
        self._shown = contextlib.ExitStack()
        self._bar: progress.Bar | None = None
        self._notes: dict[str, str] = {}
        self._first_step = self._total = 0
        self._start = 0.0

    def start(self, step: int, total: int) -> None:
        """Start at a step out of a total."""
        self._first_step, self._total, self._start = step, total, time.monotonic()
        self._bar = self._shown.enter_context(progress.bar("training", total, step))

    def step(self, step: int) -> None:
        """Move the bar."""
        rate = (step - self._first_step) / (time.monotonic() - self._start)
        self._notes["rate"] = f"{rate:.2f} steps/s"
        if self._bar is not None:
            self._bar.update(step, "  ".join(self._notes.values()))

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Show the last losses; a line of its own where there is no terminal."""
        if "loss" in figures:
            self._notes["loss"] = f"loss {figures['loss']:.4f}"
        if "reward" in figures:
            self._notes["reward"] = f"reward {figures['reward']:.3f}"
        if "eval_loss" in figures:
            self._notes["validation"] = f"validation {figures['eval_loss']:.4f}"
        if "eval_exact_match" in figures:
            self._notes["solved"] = f"solved {percent(figures['eval_exact_match'], 1)}"
        if not progress.is_live() and ("loss" in figures or "eval_loss" in figures):
            left = ""
            done = step - self._first_step
            if done > 0:
                seconds = (time.monotonic() - self._start) / done
                left = f"  {seconds * (self._total - step):.0f} s left"
            note = "  ".join(self._notes.values())
            log.info(f"step {step}/{self._total}  {note}{left}")

    def stop(self) -> None:
        """Remove the bar; may be called twice."""
        self._shown.close()
        self._bar = None
