"""Sets up trackers so that none of them ever prompts for input or stops a run.

The integrations are accelerate's own. What is kept between two starts of a run (W&B's and MLflow's
run ids, how often each failed) is in ``tracking.json``; secrets never are.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import netrc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json, write_json

log = logging.getLogger(__name__)

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


def prepare_trackers(recipe: Recipe, run_dir: Path) -> list[str]:
    """Return the trackers to report to, with W&B offline if it has no key.

    Variables that the user has set in the environment are kept.

    Raises:
        ConfigError: If a tracker's package is not installed.
    """
    trackers: list[str] = list(recipe.tracking.report_to)
    if missing := missing_packages(trackers):
        raise ConfigError(missing)
    if "wandb" in trackers:
        os.environ.setdefault("WANDB_SILENT", "true")
        # At exit its crash reports wait up to 20 seconds for a server that does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if os.environ.get("WANDB_MODE", "online") == "online" and not _has_wandb_key():
            os.environ["WANDB_MODE"] = "offline"
            log.info("W&B has no key: recording offline; `wandb sync` uploads it later")
    if "tensorboard" in trackers:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(RunPaths(run_dir).tensorboard)
    if "mlflow" in trackers:
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", recipe.tracking.project)
        # Its defaults wait for hours if a server does not answer.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        if kept := Kept(run_dir, "mlflow").get("run_id"):
            os.environ["MLFLOW_RUN_ID"] = kept
        else:
            os.environ.pop("MLFLOW_RUN_ID", None)  # from another run in this process
    return trackers


class Kept:
    """One tracker's entry in ``tracking.json``."""

    def __init__(self, run_dir: Path, tracker: str) -> None:
        self._path, self._tracker = RunPaths(run_dir).tracking, tracker

    def get(self, key: str) -> Any:
        """Return a value, or None."""
        return self._all().get(self._tracker, {}).get(key)

    def set(self, **values: Any) -> None:
        """Keep values."""
        everything = self._all()
        everything[self._tracker] = {**everything.get(self._tracker, {}), **values}
        write_json(self._path, everything)

    def count_failure(self) -> None:
        """Count one more failure."""
        self.set(failures=(self.get("failures") or 0) + 1)

    def _all(self) -> dict[str, Any]:
        return read_json(self._path) if self._path.exists() else {}


def log_results(recipe: Recipe, run_dir: Path) -> None:
    """Send each tracker the figures, answers and report, once for each version of them.

    A tracker that fails is reported in one line and counted; it stops nothing.
    """
    if not recipe.tracking.report_to:
        return
    from mathtune.tracking import results as tracker_results

    state = hashlib.sha256()
    for path in (RunPaths(run_dir).results, RunPaths(run_dir).metrics):
        state.update(path.read_bytes() if path.exists() else b"-")
    for name in prepare_trackers(recipe, run_dir):
        kept = Kept(run_dir, name)
        if kept.get("logged") == state.hexdigest():
            continue
        if attempt(name, kept, partial(tracker_results.LOGGERS[name], recipe, run_dir)):
            kept.set(logged=state.hexdigest())


def attempt(name: str, kept: Kept, call: Callable[[], None], *, quiet: bool = False) -> bool:
    """Call a tracker; count a failure, report it unless ``quiet``; return whether it worked."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for our figures
            call()
        return True
    except Exception as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        if not quiet:
            log.info(f"{name} failed; the run goes on without it: {first}")
        kept.count_failure()
        return False


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
