"""Transformers' tracker integrations, each in a wrapper that lets none of them stop training."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from mathtune.config.schema import Recipe
from mathtune.tracking import wandb_run
from mathtune.tracking.setup import Kept, attempt

GIVE_UP = 3
"""After so many failures in a row a tracker is not called again: each may have cost a time-out."""


class Tracker(TrainerCallback):
    """Hands events on to one integration; its first failure is said, all are counted.

    Args:
        name: Its Transformers name.
        recipe: The recipe.
        run_dir: Run folder.
        console: Where a failure is said.
    """

    def __init__(self, name: str, recipe: Recipe, run_dir: Path, console: Console) -> None:
        self._name, self._recipe, self._run_dir, self._console = name, recipe, run_dir, console
        self._kept = Kept(run_dir, name)
        self._inner: TrainerCallback | None = None
        self._in_a_row = 0
        self._said = self._ended = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._guard(self._begin, args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hand_on("on_log", args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hand_on("on_save", args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hand_on("on_train_end", args, state, control, **kwargs)
        self._ended = True

    def abort(self) -> None:
        """Close what a failed or interrupted training leaves open."""
        if self._inner is None:
            return
        if self._name == "wandb":
            self._guard(wandb_run.end, 1)
        elif self._ended:
            return
        elif self._name == "mlflow":
            import mlflow

            self._guard(mlflow.end_run, "KILLED")
        elif self._name == "trackio":
            import trackio

            self._guard(trackio.finish)

    def _begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._name == "wandb":
            wandb_run.begin(self._recipe, self._run_dir, self._console)
        inner = get_reporting_integration_callbacks([self._name])[0]()
        args = copy.copy(args)
        args.eval_on_start = True  # the same at each start: MLflow's parameters may not change
        inner.on_train_begin(args, state, control, **kwargs)
        self._inner = inner
        if self._name == "mlflow":
            import mlflow

            run_id = mlflow.active_run().info.run_id
            self._kept.set(run_id=run_id)
            os.environ["MLFLOW_RUN_ID"] = run_id

    def _hand_on(self, event: str, *args: Any, **kwargs: Any) -> None:
        if self._inner is not None:
            self._guard(getattr(self._inner, event), *args, **kwargs)

    def _guard(self, call: Any, *args: Any, **kwargs: Any) -> None:
        if self._in_a_row >= GIVE_UP:
            return
        console = Console(quiet=True) if self._said else self._console
        if attempt(self._name, self._kept, console, lambda: call(*args, **kwargs)):
            self._in_a_row = 0
        else:
            self._in_a_row += 1
            self._said = True


def tracker_callbacks(
    names: Sequence[str], recipe: Recipe, run_dir: Path, console: Console
) -> list[Tracker]:
    """Return a callback for each tracker."""
    return [Tracker(name, recipe, run_dir, console) for name in names]
