"""Trackers: prepared so that none of them ever asks a question or stops a run."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError

_PACKAGES = {
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


def missing_packages(trackers: Sequence[str]) -> list[str]:
    """Return a sentence for each tracker whose package is not installed."""
    return [
        f"tracking.report_to names {name}, which is not installed; `pip install "
        f"{_PACKAGES[name]}` or leave it out"
        for name in trackers
        if importlib.util.find_spec(_PACKAGES[name]) is None
    ]


def prepare_trackers(recipe: Recipe, run_dir: Path, console: Console) -> list[str]:
    """Return the trackers to report to, W&B set to offline where it has no key.

    Raises:
        ConfigError: If a tracker's package is not installed.
    """
    trackers: list[str] = list(recipe.tracking.report_to)
    if missing := missing_packages(trackers):
        raise ConfigError(missing)
    if "wandb" in trackers:
        os.environ.setdefault("WANDB_PROJECT", recipe.tracking.project)
        os.environ.setdefault("WANDB_DIR", str(run_dir))
        os.environ.setdefault("WANDB_SILENT", "true")
        if os.environ.get("WANDB_MODE", "online") == "online" and not _has_wandb_key():
            os.environ["WANDB_MODE"] = "offline"
            console.print("W&B has no key: recording offline; `wandb sync` uploads it later")
    if "mlflow" in trackers:
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", recipe.tracking.project)
    return trackers


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
