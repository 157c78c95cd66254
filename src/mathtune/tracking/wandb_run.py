"""One W&B run per run folder, over all restarts, that never waits long for a server."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.tracking.setup import Kept

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""Longest wait for a server at the start and at the end; ``WANDB_INIT_TIMEOUT`` changes the first,
``WANDB_FINISH_TIMEOUT`` the second."""


def begin(recipe: Recipe, run_dir: Path) -> Any:
    """Return this folder's W&B run, started or resumed; offline if no server is reached.

    A run that the caller has already started is used as it is.
    """
    import wandb

    if wandb.run is not None:
        return wandb.run
    kept = Kept(run_dir, "wandb")
    run_id = os.environ.get("WANDB_RUN_ID") or kept.get("id") or secrets.token_hex(4)
    kept.set(id=run_id)
    mode = os.environ.get("WANDB_MODE", "online")
    try:
        run = _init(recipe, run_dir, run_id, mode)
    except Exception as error:
        if mode != "online":
            raise
        first = str(error).strip().partition("\n")[0]
        log.info(
            f"W&B could not be reached ({first}): recording offline; `wandb sync` uploads it later"
        )
        kept.count_failure()
        mode = os.environ["WANDB_MODE"] = "offline"  # do not try twice
        wandb.teardown()  # the service would keep the id
        run = _init(recipe, run_dir, run_id, mode)
    kept.set(mode=mode)
    return run


def _init(recipe: Recipe, run_dir: Path, run_id: str, mode: Any) -> Any:
    import wandb

    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", recipe.tracking.project),
        name=os.environ.get("WANDB_NAME", run_dir.resolve().name),
        id=run_id,
        resume="allow" if mode == "online" else None,  # `wandb sync` joins offline parts by the id
        mode=mode,
        dir=os.environ.get("WANDB_DIR", str(run_dir)),
        config={"recipe": recipe.model_dump(mode="json")},
        settings=wandb.Settings(
            init_timeout=_seconds("WANDB_INIT_TIMEOUT"),
            finish_timeout=_seconds("WANDB_FINISH_TIMEOUT"),
        ),
    )


def end(exit_code: int = 0) -> None:
    """Finish the run, if there is one."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def _seconds(variable: str) -> float:
    return float(os.environ.get(variable) or PATIENCE_SECONDS)
