"""How long answering takes: said once early on, and then with the bar or in lines."""

from __future__ import annotations

import logging
import time

from mathtune import progress
from mathtune.generation.engine import Engine
from mathtune.records import PredictionRow

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between progress lines of an evaluation, where no bar is shown."""

SECONDS_OF_KEPT_ROWS = 1.0

FIRST_ANSWERS = 3
"""New answers after which the time in all is estimated."""

SHORT_SECONDS = 10.0
"""The time of work shorter than this is not said."""


class AnswerCount:
    """Moves a bar with each row, and says early on how long all will take.

    Where no bar is shown, it also logs a line now and then.

    Args:
        bar: The bar.
        total: Answers in all.
        samples: Answers per problem.
        engine: What answers.
    """

    def __init__(self, bar: progress.Bar, total: int, samples: int, engine: Engine) -> None:
        self._bar, self._total, self._samples, self._engine = bar, total, samples, engine
        self._done = self._right = 0
        self._began = self._said = time.monotonic()
        self._kept: int | None = None  # rows of an earlier start, which come all at once
        self._announced = False

    def __call__(self, row: PredictionRow) -> None:
        """Count a row."""
        self._done += 1
        self._right += bool(row["correct"])
        self._bar.update(self._done, f"{self._right} right")
        now = time.monotonic()
        if self._kept is None and now - self._began > SECONDS_OF_KEPT_ROWS:
            self._kept = self._done - 1
        if not self._announced and self._kept is not None:
            self._announce(now, self._done - self._kept)
        if progress.is_live() or now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        log.info(
            f"{self._done:,} of {self._total:,} answered, {self._right:,} right, about "
            f"{self._seconds_left(now):,.0f} s left"
        )

    def _announce(self, now: float, new: int) -> None:
        if new < FIRST_ANSWERS:
            return
        self._announced = True
        seconds = now - self._began + self._seconds_left(now)
        if seconds >= SHORT_SECONDS:
            problems = (new + self._total - self._done) / self._samples
            log.info(
                f"about {in_words(seconds)} for {problems:,.0f} problems "
                f"({seconds / problems:.2g} s a problem)"
            )

    def _seconds_left(self, now: float) -> float:
        """Return the time for what is missing, answers in progress counted as half done.

        Without these the first estimates would be several times too long: nearly all the work
        done by then is in answers that are not complete.
        """
        missing = self._total - self._done
        in_progress = min(getattr(getattr(self._engine, "stats", None), "rows", 0), missing)
        worked = self._done - (self._kept or 0) + in_progress / 2
        return (now - self._began) * (missing - in_progress / 2) / worked if worked else 0.0


def in_words(seconds: float) -> str:
    """Return a rough time: ``45 s``, ``4 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
