"""Training progress: what a checkpoint holds besides weights and optimiser."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FILE = "trainer_state.json"
_EARLIER_FILE = "loss_window.json"


@dataclass
class TrainingState:
    """Progress of a training; named as in ``transformers.TrainerState`` where possible.

    Attributes:
        max_steps: Optimiser steps of the whole training.
        examples_per_step: Examples of a step on all ranks.
        global_step: Steps done.
        epoch: How often the training set has been seen.
        best_metric: Best validation result so far; None before the first validation.
        best_global_step: Its step; None where no validation was finite.
        validations_without_gain: In a row, for early stopping.
        validation_due: Whether a signal interrupted the validation of ``global_step``.
        tokens_seen: Tokens trained on, prompts included.
        seconds: Wall-clock seconds of training, summed over all starts.
        loss_since_logged: Sum of the steps' losses since the last training line.
        last_logged_step: Step of that line.
        nonfinite: See ``NonFiniteSteps.state``.
        source: See ``StepSource.state``.
        log_history: Everything logged.
    """

    max_steps: int
    examples_per_step: int
    global_step: int = 0
    epoch: float = 0.0
    best_metric: float | None = None
    best_global_step: int | None = None
    validations_without_gain: int = 0
    validation_due: bool = False
    tokens_seen: int = 0
    seconds: float = 0.0
    loss_since_logged: float = 0.0
    last_logged_step: int = 0
    nonfinite: dict[str, int] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    log_history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def load(cls, checkpoint: Path) -> TrainingState:
        """Read the state in a checkpoint folder."""
        saved = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
        if "loss_since_logged" not in saved:
            saved |= _of_earlier_version(checkpoint, saved)
        saved.setdefault("seconds", 0.0)  # an earlier version did not keep them
        return cls(**{each.name: saved[each.name] for each in fields(cls)})

    def save(self, folder: Path) -> None:
        """Write the state into a checkpoint folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def has_ended(self, patience: int | None) -> bool:
        """Return whether training is over: all steps are done, or early stopping applies.

        Args:
            patience: Validations without gain that end training; None: no limit.
        """
        if self.validation_due:
            return False
        stopped_early = patience is not None and self.validations_without_gain >= patience
        return self.global_step >= self.max_steps or stopped_early

    def note_validation(self, result: float, greater_is_better: bool) -> bool:
        """Take a validation result into account; return whether it is the best so far."""
        sign = 1 if greater_is_better else -1
        first = self.best_metric is None
        best = -sign * math.inf if self.best_metric is None else self.best_metric
        better = sign * result > sign * best  # never for NaN
        self.validations_without_gain = 0 if first or better else self.validations_without_gain + 1
        self.best_metric = result if better else best
        if better:
            self.best_global_step = self.global_step
        return better


def _of_earlier_version(checkpoint: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the state's fields from files that ``transformers.Trainer`` wrote."""
    progress = json.loads((checkpoint / _EARLIER_FILE).read_text(encoding="utf-8"))
    stopping = saved.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    return {
        "examples_per_step": progress["examples_per_step"],
        "validations_without_gain": stopping.get("attributes", {}).get(
            "early_stopping_patience_counter", 0
        ),
        "validation_due": bool(progress.get("validation_due")),
        "tokens_seen": progress["tokens_seen"],
        "loss_since_logged": progress["loss"],
        "last_logged_step": progress["last_logged_step"],
        "nonfinite": progress["nonfinite"],
        "source": {"steps": saved["global_step"]},
    }
