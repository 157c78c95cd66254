"""accelerate's trackers, each in a wrapper that keeps it from stopping training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.tracking import (
    GeneralTracker,
    MLflowTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.tracking import wandb_run
from mathtune.tracking.setup import Kept, attempt

GIVE_UP = 3
"""After this many failures in a row a tracker is dropped: each may have cost a timeout."""


class Tracker:
    """Passes figures to one tracker; its first failure is shown, all are counted.

    Args:
        name: As in ``tracking.report_to``.
        recipe: The recipe.
        run_dir: Run folder.
    """

    def __init__(self, name: str, recipe: Recipe, run_dir: Path) -> None:
        self._name, self._recipe, self._run_dir = name, recipe, run_dir
        self._kept = Kept(run_dir, name)
        self._tracker: GeneralTracker | None = None
        self._in_a_row = 0
        self._shown = self._ended = False

    def start(self) -> None:
        """Start on rank 0, continuing the tracker's run of an earlier start if there was one."""
        if ranks.is_first():
            self._guard(self._begin)

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Pass figures on, as ``train/loss`` or ``eval/loss``."""
        named = {
            f"eval/{key.removeprefix('eval_')}"
            if key.startswith("eval_")
            else f"train/{key}": value
            for key, value in figures.items()
        }
        if self._tracker is not None:
            self._guard(self._log, self._tracker, step, named)

    def finish(self) -> None:
        """Finish after training; a W&B run stays open for the results."""
        if self._tracker is not None and self._name != "wandb":
            self._guard(self._tracker.finish)
        self._ended = True

    def abort(self) -> None:
        """Close what a failed or interrupted training leaves open."""
        if self._tracker is None:
            return
        if self._name == "wandb":
            self._guard(wandb_run.end, 1)
        elif not self._ended and self._name == "mlflow":
            import mlflow

            self._guard(mlflow.end_run, "KILLED")
        elif not self._ended:
            self._guard(self._tracker.finish)

    def _begin(self) -> None:
        project, name = self._recipe.tracking.project, self._run_dir.resolve().name
        tracker: Any
        if self._name == "wandb":
            tracker = WandBTracker(project)
            tracker.run = wandb_run.begin(self._recipe, self._run_dir)
            tracker.run.define_metric("train/global_step")
            tracker.run.define_metric("*", step_metric="train/global_step", step_sync=True)
        elif self._name == "tensorboard":
            tracker = TensorBoardTracker("tensorboard", self._run_dir)
            tracker.start()
        elif self._name == "trackio":
            tracker = TrackioTracker(project, name=name, resume="allow", embed=False)
            tracker.start()
        else:
            tracker = MLflowTracker(project, run_name=name)
            tracker.start()
            if self._kept.get("run_id") is None:  # its parameters can be written only once
                tracker.store_init_configuration(self._recipe.model_dump(mode="json"))
            run_id = tracker.tracker.info.run_id
            self._kept.set(run_id=run_id)
            os.environ["MLFLOW_RUN_ID"] = run_id
        self._tracker = tracker

    def _log(self, tracker: GeneralTracker, step: int, figures: dict[str, float]) -> None:
        if self._name == "wandb":
            # W&B drops figures of a step it has seen, and a resumed run starts before the last one.
            tracker.log({**figures, "train/global_step": step})
        else:
            tracker.log(figures, step=step)

    def _guard(self, call: Any, *args: Any) -> None:
        if self._in_a_row >= GIVE_UP:
            return
        if attempt(self._name, self._kept, partial(call, *args), quiet=self._shown):
            self._in_a_row = 0
        else:
            self._in_a_row += 1
            self._shown = True


def make_trackers(names: Sequence[str], recipe: Recipe, run_dir: Path) -> list[Tracker]:
    """Return the trackers to report to, not yet started."""
    return [Tracker(name, recipe, run_dir) for name in names]
