"""Checkpoints that are whole or not there.

A checkpoint is written into a folder aside, synced, sealed with a manifest of hashes and renamed
into place; a crash at any moment leaves either the earlier state or the new one. ``newest_whole``
finds the last one whose files still match their hashes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mathtune.errors import DiskError

SEAL = "checkpoint_manifest.json"
STAGING = "staging"
PROGRESS = "loss_window.json"

_REPLACED = "replaced-"
"""Before the name of a checkpoint while another of the same step takes its place."""

_OS_ERROR = "(os error"
"""How libraries written in Rust end the message of a failed system call."""


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


def sync(folder: Path) -> None:
    """Make sure that a folder's files are on the disk."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def publish(staged: Path, final: Path) -> None:
    """Move a sealed checkpoint to its final name."""
    before = final.with_name(_REPLACED + final.name)
    if final.exists():  # the same step was saved before a restart
        shutil.rmtree(before, ignore_errors=True)
        os.rename(final, before)
    os.rename(staged, final)
    _sync(final.parent)
    shutil.rmtree(before, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Return whether a checkpoint has a manifest and every file matches it."""
    manifest = folder / SEAL
    if not manifest.is_file():
        return False
    try:
        hashes = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(hashes, dict) and all(
        (folder / name).is_file() and _sha256(folder / name) == digest
        for name, digest in hashes.items()
    )


def step_of(folder: Path) -> int:
    """Return the optimiser step in a name such as ``checkpoint-300``; −1 if there is none."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match.group(1)) if match else -1


def recover(checkpoints: Path) -> None:
    """Put things right after a crash in which one checkpoint was taking the place of another."""
    for before in checkpoints.glob(_REPLACED + "*"):
        final = before.with_name(before.name.removeprefix(_REPLACED))
        if not final.exists():
            os.rename(before, final)
        elif is_whole(final):
            shutil.rmtree(before, ignore_errors=True)


def newest_whole(checkpoints: Path) -> tuple[Path | None, list[Path]]:
    """Return the newest whole checkpoint and the damaged ones that are newer than it."""
    damaged = []
    folders = [path for path in checkpoints.glob("checkpoint-*") if step_of(path) >= 0]
    for folder in sorted(folders, key=step_of, reverse=True):
        if is_whole(folder):
            return folder, damaged
        damaged.append(folder)
    return None, damaged


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint to ``damaged-checkpoint-STEP``, or to that with a number."""
    name, number = folder.with_name("damaged-" + folder.name), 1
    while name.exists():
        number += 1
        name = folder.with_name(f"damaged-{folder.name}-{number}")
    folder.rename(name)
    return name


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


@contextmanager
def saving(aside: Path, needed: int = 0) -> Iterator[None]:
    """Turn a write that fails into a DiskError; what was written aside is removed.

    Args:
        aside: Folder that is written to and moved into place later.
        needed: About how many bytes are written, for the message.

    Raises:
        DiskError: The disk is full or cannot be written.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_disk(error):
            raise
        shutil.rmtree(aside, ignore_errors=True)
        raise disk_error(error, aside.parent, needed) from error


def _is_of_disk(error: Exception) -> bool:
    """Return whether a save failed for the disk; not all libraries say so by the error's class."""
    # PyTorch's writer says only that it stands at an unexpected place in the file; tokenizers
    # raises a bare Exception.
    told = "inline_container" in str(error) or _OS_ERROR in str(error)
    return isinstance(error, OSError | SafetensorError) or told


def disk_error(error: Exception, folder: Path, needed: int) -> DiskError:
    """Describe a failed save: what was needed, what was free, and that earlier saves are whole."""
    free = shutil.disk_usage(folder).free
    what = getattr(error, "strerror", None)
    if what is None:
        full = "inline_container" in str(error) or f"{_OS_ERROR} {errno.ENOSPC})" in str(error)
        what = os.strerror(errno.ENOSPC) if full else str(error)
    return DiskError(
        f"could not save to {folder}: {what}; {free / 2**20:,.1f} MB are free"
        + (f" and the save needs about {needed / 2**20:,.1f} MB" if needed else "")
        + "; what was saved before is whole: free some space and give the same command again"
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
