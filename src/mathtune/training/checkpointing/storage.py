"""Checkpoints that are complete or absent.

A checkpoint is written into a temporary folder, synced, sealed with a manifest of hashes and
renamed into place; a crash at any moment leaves either the earlier state or the new one.
``newest_whole`` finds the last one whose files still match their hashes.
"""

from __future__ import annotations

import re
from pathlib import Path

from mathtune.storage import is_whole

STAGING = "staging"


def step_of(folder: Path) -> int:
    """Return the optimiser step in a name such as ``checkpoint-300``; −1 if there is none."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match.group(1)) if match else -1


def newest_whole(checkpoints: Path) -> tuple[Path | None, list[Path]]:
    """Return the newest intact checkpoint and the damaged ones newer than it."""
    damaged: list[Path] = []
    folders = [path for path in checkpoints.glob("checkpoint-*") if step_of(path) >= 0]
    for folder in sorted(folders, key=step_of, reverse=True):
        if is_whole(folder):
            return folder, damaged
        damaged.append(folder)
    return None, damaged
