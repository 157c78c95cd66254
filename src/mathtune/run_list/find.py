"""Where run folders are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mathtune.run_paths import RunPaths

DEEPEST = 4
"""Run folders are looked for this many folders below the root."""


def find_runs(root: Path) -> Iterator[Path]:
    """Yield the run folders below a root, or the root if it is one."""
    if is_run(root):
        yield root
    else:
        yield from _below(root, DEEPEST)


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    paths = RunPaths(folder)
    return paths.recipe.is_file() and paths.manifest_file.is_file()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # what cannot be read has nothing to show
        return
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        path = Path(entry.path)
        if is_run(path):
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)
