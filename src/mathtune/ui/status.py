"""What a run is doing: from its lock, its records and its last lines, without its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mathtune.locks import in_use
from mathtune.report.wording import estimated_duration
from mathtune.run_list.facts import state_of
from mathtune.run_paths import RunPaths
from mathtune.ui.folders import JOB

_DOING = {"base": "measuring base", "train": "training", "tuned": "measuring tuned"}
_TAIL = 16_384
"""Bytes at the end of a file in which its last complete line is looked for."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a run is doing.

    Attributes:
        kind: As of ``run_list.facts.State``.
        text: For people.
        left: Time left, for people, where it is known.
        share: Share of the current stage that is done, from 0 to 1, where it is known.
    """

    kind: str
    text: str
    left: str = ""
    share: float | None = None


def status_of(paths: RunPaths, manifest: Mapping[str, Any]) -> Status:
    """Return what a run is doing."""
    state = state_of(paths, manifest, running=is_running(paths))
    if state.kind == "running":
        if not state.open:
            return Status("running", "working" if state.done else "starting")
        if state.open == "train":
            return _training(paths)
        return _measuring(paths, state.open, manifest)
    if state.kind == "stopped":
        return Status("stopped", f"stopped while {_DOING[state.open]}")
    return Status(state.kind, "finished" if state.kind == "finished" else "nothing done yet")


def is_running(paths: RunPaths) -> bool:
    """Return whether a process works in the folder, or was started for it."""
    return job_process(paths.folder) is not None or bool(in_use(paths.folder))


def job_process(folder: Path) -> psutil.Process | None:
    """Return the running process that the page started for a run folder, or None.

    It is recognised by its number and the time at which it began.
    """
    job = job_of(folder)
    try:
        process = psutil.Process(int(job["pid"]))
        same = abs(process.create_time() - float(job["began"])) < 0.02
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, OverflowError, ValueError, KeyError, TypeError):
        return None


def job_of(folder: Path) -> dict[str, Any]:
    """Return what was recorded when the page started a training in a folder, or nothing."""
    try:
        job = json.loads((folder / JOB).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return job if isinstance(job, dict) else {}


def last_line(path: Path) -> dict[str, Any]:
    """Return the last complete JSON line of a file, or nothing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _training(paths: RunPaths) -> Status:
    from mathtune.config.yaml_loader import read_yaml

    line = last_line(paths.metrics)
    step, epoch, seconds = (line.get(key) for key in ("step", "epoch", "seconds"))
    try:
        train = read_yaml(paths.recipe.read_text("utf-8"))["train"]
        steps, epochs = train.get("max_steps"), train.get("num_train_epochs")
    except Exception:  # whatever is wrong with the file, the page shows the rest
        steps = epochs = None
    share = None
    if _positive(steps) and _positive(step):
        share = step / steps
    elif _positive(epochs) and _positive(epoch):
        share = epoch / epochs
    if share is None:
        return Status("running", "training")
    share = min(share, 1.0)
    left = estimated_duration(seconds * (1 - share) / share) if _positive(seconds) else ""
    return Status("running", f"training, step {step:,}", left if share < 1 else "", share)


def _measuring(paths: RunPaths, label: str, manifest: Mapping[str, Any]) -> Status:
    """Count the answers in the file that is being written."""
    text = _DOING[label]
    files = [path for path in paths.predictions_of(label) if path.is_file()]
    if not files:
        return Status("running", text)
    newest = max(files, key=lambda path: path.stat().st_mtime)
    with newest.open("rb") as file:
        answered = sum(1 for _ in file)
    data = manifest.get("data")
    tests = data.get("test") if isinstance(data, dict) else None
    named = last_line(newest).get("set")
    for test in tests if isinstance(tests, list) else ():
        if (
            isinstance(test, dict)
            and test.get("label", named) == named
            and _positive(test.get("n"))
        ):
            share = min(1.0, answered / test["n"])
            return Status("running", f"{text}, {answered:,} of {test['n']:,} answers", "", share)
    return Status("running", f"{text}, {answered:,} answers", "", None)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
