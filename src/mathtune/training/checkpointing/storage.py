"""Checkpoints that are whole or not there.

A checkpoint is written into a folder aside, synced, sealed with a manifest of hashes and renamed
into place; a crash at any moment leaves either the earlier state or the new one. ``newest_whole``
finds the last one whose files still match their hashes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mathtune.storage import is_whole

STAGING = "staging"
PROGRESS = "loss_window.json"


def step_of(folder: Path) -> int:
    """Return the optimiser step in a name such as ``checkpoint-300``; −1 if there is none."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match.group(1)) if match else -1


def newest_whole(checkpoints: Path) -> tuple[Path | None, list[Path]]:
    """Return the newest whole checkpoint and the damaged ones that are newer than it."""
    damaged = []
    folders = [path for path in checkpoints.glob("checkpoint-*") if step_of(path) >= 0]
    for folder in sorted(folders, key=step_of, reverse=True):
        if is_whole(folder):
            return folder, damaged
        damaged.append(folder)
    return None, damaged


def progress_of(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of a training besides Transformers' own state."""
    progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    return progress


def is_validation_due(folder: Path) -> bool:
    """Return whether a signal cut off the validation of a checkpoint's step."""
    return bool(progress_of(folder).get("validation_due"))


def has_ended(folder: Path) -> bool:
    """Return whether nothing is left to train after a checkpoint.

    It is that of the last step, or of the validation at which early stopping ended training.
    """
    if is_validation_due(folder):
        return False
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    if state["global_step"] >= state["max_steps"]:
        return True
    patience = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback")
    return bool(
        patience
        and patience["attributes"]["early_stopping_patience_counter"]
        >= patience["args"]["early_stopping_patience"]
    )
