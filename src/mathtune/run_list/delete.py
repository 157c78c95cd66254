"""Deleting run folders, none that is in use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mathtune.errors import DiskError, RunError, did_you_mean
from mathtune.locks import in_use, lock
from mathtune.run_list.find import find_runs, is_run


def to_delete(names: Iterable[str], root: Path) -> list[Path]:
    """Return the run folders that names mean, checked so that all can be deleted.

    Args:
        names: Names below the root, or paths.
        root: The folder that holds the runs.

    Raises:
        RunError: With every fault: one is no run folder, lies inside another run, or is in use.
    """
    folders: dict[Path, None] = {}
    faults = []
    for name in names:
        folder = root / name if (root / name).is_dir() else Path(name)
        inside = next((each for each in folder.absolute().parents if is_run(each)), None)
        if folder.is_symlink():
            faults.append(f"{name} is a link; delete the folder {folder.resolve()} that it names")
        elif not is_run(folder):
            known = [os.path.relpath(each, root) for each in find_runs(root)]
            hint = did_you_mean(name, known) or "; mathtune runs lists them"
            faults.append(f"{name} is no run folder{hint}")
        elif inside is not None:
            faults.append(f"{name} is part of the run {inside}; delete that")
        elif holder := in_use(folder):
            faults.append(f"run folder {folder} is in use by another mathtune process{holder}; "
                          "stop that first")  # fmt: skip
        else:
            folders[folder] = None
    if faults:
        raise RunError(faults)
    return list(folders)


def delete(folder: Path) -> None:
    """Delete a run folder, at once for everyone who looks, then file by file.

    Raises:
        RunError: Another process uses it.
        DiskError: Not everything could be deleted.
    """
    target = folder.absolute()
    hidden = target.with_name(f".deleting-{target.name}")
    try:
        held = lock(target)
        try:
            if hidden.exists():  # what an interrupted deletion left
                shutil.rmtree(hidden)
            target.rename(hidden)
            shutil.rmtree(hidden)
        finally:
            held.release()
    except RunError:
        raise
    except OSError as error:
        raise DiskError(
            f"{error.filename or folder} could not be deleted ({error.strerror}); give yourself "
            f"write permission, and delete what is left of {hidden if hidden.exists() else folder}"
        ) from error
