"""Checkpoints that are whole or not there.

A checkpoint is written into a folder aside, synced, sealed with a manifest of hashes and renamed
into place; a crash at any moment leaves either the earlier state or the new one. ``newest_whole``
finds the last one whose files still match their hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from mathtune.errors import DiskError

SEAL = "checkpoint_manifest.json"
STAGING = "staging"


def seal(folder: Path) -> None:
    """Hash and sync every file of a checkpoint folder and write the manifest."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            hashes[str(path.relative_to(folder))] = _sha256(path)
            _sync(path)
    (folder / SEAL).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    _sync(folder / SEAL)
    _sync(folder)


def publish(staged: Path, final: Path) -> None:
    """Move a sealed checkpoint to its final name."""
    if final.exists():  # the same step was saved before a restart
        shutil.rmtree(final)
    os.rename(staged, final)
    _sync(final.parent)


def is_whole(folder: Path) -> bool:
    """Return whether a checkpoint has a manifest and every file matches it."""
    manifest = folder / SEAL
    if not manifest.is_file():
        return False
    try:
        hashes = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return all(
        (folder / name).is_file() and _sha256(folder / name) == digest
        for name, digest in hashes.items()
    )


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


def disk_error(error: OSError, folder: Path, needed: int) -> DiskError:
    """Describe a failed save: what was needed, what was free, and that earlier saves are whole."""
    free = shutil.disk_usage(folder).free
    return DiskError(
        f"could not save to {folder}: {error.strerror or error}; a checkpoint needs about "
        f"{needed / 2**20:.0f} MB and {free / 2**20:.0f} MB are free. The earlier checkpoints are "
        "whole: free some space and give the same command again"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
