"""How long generation took, kept next to a predictions file and summed over restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mathtune.storage import replace_file

SECONDS_BETWEEN_SAVES = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Work measured so far.

    Seconds and counts always cover the same work, so the rates stay right when some of it was lost,
    or when rows were copied from another evaluation and never timed.

    Attributes:
        seconds: Wall-clock seconds from asking the engine to the last completion, grading included.
        tokens: New tokens in that time, calculator insertions included.
        completions: Completions in that time.
    """

    seconds: float = 0.0
    tokens: int = 0
    completions: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """New tokens per second; None where nothing was timed."""
        return self.tokens / self.seconds if self.seconds > 0 else None

    def seconds_per_problem(self, samples: int = 1) -> float | None:
        """Seconds for all samples of one problem; None where nothing was timed."""
        return self.seconds * samples / self.completions if self.completions else None


def timing_path(predictions: Path) -> Path:
    """Return the path of the timing that belongs to a predictions file."""
    return predictions.with_name(predictions.name + ".timing.json")


def read_timing(predictions: Path) -> Timing:
    """Return the timing kept for a predictions file; nothing timed where it is missing or damaged.

    Losing it costs the record of a speed, never a result, so it is no error.
    """
    try:
        content = json.loads(timing_path(predictions).read_bytes())
        kept = Timing(*(content[field.name] for field in fields(Timing)))
    except (OSError, ValueError, KeyError, TypeError):
        return Timing()
    numbers = (kept.seconds, kept.tokens, kept.completions)
    if not all(type(number) in (int, float) and 0 <= number < float("inf") for number in numbers):
        return Timing()
    return kept


def add_timings(predictions: Path, parts: Sequence[Path]) -> None:
    """Add the timing of parallel parts: work adds up, the time is that of the longest."""
    timings = [read_timing(part) for part in parts]
    if not any(timing.completions for timing in timings):
        return
    before = read_timing(predictions)
    _write(
        predictions,
        Timing(
            before.seconds + max(timing.seconds for timing in timings),
            before.tokens + sum(timing.tokens for timing in timings),
            before.completions + sum(timing.completions for timing in timings),
        ),
    )


def _write(predictions: Path, timing: Timing) -> None:
    content = {field.name: getattr(timing, field.name) for field in fields(Timing)}
    replace_file(timing_path(predictions), [json.dumps(content).encode() + b"\n"])


class Stopwatch:
    """Adds running work to what was timed before, and saves it about once a second."""

    def __init__(self, predictions: Path) -> None:
        self._predictions = predictions
        self._before = read_timing(predictions)
        self._started = self._last = self._saved = time.perf_counter()
        self._tokens = 0
        self._completions = 0

    def lap(self, tokens: int) -> None:
        """Count one completion that has just come in."""
        self._tokens += tokens
        self._completions += 1
        self._last = time.perf_counter()
        if self._last - self._saved >= SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> Timing:
        """Write the total next to the predictions file and return it."""
        total = Timing(
            self._before.seconds + (self._last - self._started),
            self._before.tokens + self._tokens,
            self._before.completions + self._completions,
        )
        _write(self._predictions, total)
        self._saved = time.perf_counter()
        return total
