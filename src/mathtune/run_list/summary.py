"""What a run folder is, how far it is and what it found, from a few of its files."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mathtune.errors import RunError
from mathtune.locks import in_use
from mathtune.report.wording import MODELS
from mathtune.run_list.facts import figures_of, head_of, state_of
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run folder.

    Attributes:
        name: Its path below the root.
        folder: Its path.
        recipe: Name of its recipe.
        model: The base model; empty where training began from random weights.
        status: ``running``, ``finished``, ``stopped`` (something was begun and not finished),
            ``empty`` (nothing was begun) or ``damaged`` (a file of it cannot be read).
        stage: The stage that is running or was stopped in, else the last finished one.
        base: Exact match of the base model on the headline's set, from 0 to 1.
        tuned: Exact match of the tuned model.
        difference: Their difference on the same problems, with ``low`` and ``high``, the ends of
            its interval.
        changed: When it last wrote something.
        size: Bytes on disk.
    """

    name: str
    folder: Path
    recipe: str
    model: str
    status: str
    stage: str
    base: float | None
    tuned: float | None
    difference: float | None
    low: float | None
    high: float | None
    changed: datetime
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return it as ``mathtune runs --json`` prints it."""
        shown = {key: getattr(self, key) for key in self.__slots__}
        return {**shown, "folder": str(self.folder), "changed": self.changed.isoformat()}


def summary_of(folder: Path, root: Path) -> RunSummary:
    """Return what a run folder is."""
    paths, damaged = RunPaths(folder), False
    try:
        manifest = read_json(paths.manifest_file)
        results = read_json(paths.results) if paths.results.is_file() else {}
        figures = figures_of(results)
    except (RunError, AttributeError, TypeError, ValueError):
        manifest, figures, damaged = {}, dict.fromkeys((*MODELS, "difference", "low", "high")), True
    recipe, model = head_of(paths.recipe)
    state = state_of(paths, manifest, running=bool(in_use(folder)))
    return RunSummary(
        name=os.path.relpath(folder, root) if folder != root else folder.absolute().name,
        folder=folder,
        recipe=recipe,
        model=model,
        status="damaged" if damaged else state.kind,
        stage=state.stage,
        **figures,
        changed=datetime.fromtimestamp(_changed(paths), timezone.utc).replace(microsecond=0),
        size=size_on_disk(folder),
    )


def _changed(paths: RunPaths) -> float:
    """Return when a run last wrote something, in seconds since 1970."""
    times = [0.0]
    for path in (paths.manifest_file, paths.metrics, paths.results, paths.report):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def size_on_disk(folder: Path) -> int:
    """Return the bytes that the files of a folder take, links not followed."""
    seen: dict[tuple[int, int], int] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed since
                found = os.lstat(os.path.join(where, name))
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())
