"""What a run folder is, how far it is and what it found, from a few of its files."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mathtune.errors import RunError
from mathtune.locks import in_use
from mathtune.report import facts
from mathtune.report.reading import RunFiles
from mathtune.report.wording import MODELS, is_number
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json

STAGES = ("base", "train", "tuned")

_HEAD = 4096
"""Bytes at the start of a recipe that hold its name and model; reading all takes 20 ms a run."""

_NAME = re.compile(r"^name: *(.+)$", re.MULTILINE)
_MODEL = re.compile(r"^  name_or_path: *(.+)$", re.MULTILINE)


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
        figures = _figures(results)
    except (RunError, AttributeError, TypeError, ValueError):
        manifest, figures, damaged = {}, dict.fromkeys((*MODELS, "difference", "low", "high")), True
    recipe, model = _head(paths.recipe)
    status, stage = _status(paths, manifest)
    return RunSummary(
        name=os.path.relpath(folder, root) if folder != root else folder.absolute().name,
        folder=folder,
        recipe=recipe,
        model=model,
        status="damaged" if damaged else status,
        stage=stage,
        **figures,
        changed=datetime.fromtimestamp(_changed(paths), timezone.utc).replace(microsecond=0),
        size=size_on_disk(folder),
    )


def _figures(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the headline's figures."""
    first = facts.headline(RunFiles("", {}, {}, (), (), results, {}, ()))
    found: dict[str, Any] = dict.fromkeys((*MODELS, "difference", "low", "high"))
    if first is not None:
        for model, evaluation in first.evaluations.items():
            found[model] = facts.mapping(evaluation.get("exact_match")).get("value")
        compared = facts.mapping(first.comparison)
        for key in ("difference", "low", "high"):
            found[key] = compared.get(key if key == "difference" else f"difference_{key}")
    return {key: value if is_number(value) else None for key, value in found.items()}


def _status(paths: RunPaths, manifest: Mapping[str, Any]) -> tuple[str, str]:
    done = [stage for stage in STAGES if stage in (manifest.get("stages") or {})]
    open_ = [s for s in STAGES if s not in done and paths.inputs(s).is_file()]
    last = open_[0] if open_ else done[-1] if done else ""
    if in_use(paths.folder):
        return "running", open_[0] if open_ else ""
    if open_:
        return "stopped", last
    return ("finished" if done else "empty"), last


def _head(recipe: Path) -> tuple[str, str]:
    """Return the name and the model of a recipe."""
    try:
        with recipe.open("rb") as file:
            text = file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return "", ""
    found = (pattern.search(text) for pattern in (_NAME, _MODEL))
    name, model = (match[1].strip().strip("'\"") if match else "" for match in found)
    return name, "" if model == "null" else model


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
