"""What both lists of runs, the terminal's and the page's, read from a run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune.report import facts
from mathtune.report.reading import RunFiles
from mathtune.report.wording import MODELS, is_number
from mathtune.run_paths import RunPaths

STAGES = ("base", "train", "tuned")

_HEAD = 4096
"""Bytes at the start of a recipe that hold its name and model; reading all takes 20 ms a run."""

_NAME = re.compile(r"^name: *(.+)$", re.MULTILINE)
_MODEL = re.compile(r"^  name_or_path: *(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class State:
    """How far a run is.

    Attributes:
        kind: ``running``, ``finished``, ``stopped`` (something was begun and not finished) or
            ``empty`` (nothing was begun).
        open: The stage that was begun and is not finished, or an empty text.
        done: The stages that are finished, in their order.
    """

    kind: str
    open: str
    done: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The stage that is running or was stopped in, else the last finished one."""
        if self.open or self.kind == "running":
            return self.open
        return self.done[-1] if self.done else ""


def state_of(paths: RunPaths, manifest: Mapping[str, Any], *, running: bool) -> State:
    """Return how far a run is, from its records and whether a process works in it."""
    finished = facts.mapping(manifest.get("stages"))
    done = tuple(stage for stage in STAGES if stage in finished)
    begun = (stage for stage in STAGES if stage not in done and paths.inputs(stage).is_file())
    current = next(begun, "")
    if running:
        kind = "running"
    elif current:
        kind = "stopped"
    else:
        kind = "finished" if done else "empty"
    return State(kind, current, done)


def figures_of(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the headline's figures: ``base``, ``tuned``, ``difference``, ``low`` and ``high``.

    Raises:
        AttributeError: If the results are not as mathtune writes them; also TypeError, ValueError.
    """
    first = facts.headline(RunFiles("", {}, {}, (), (), results, {}, ()))
    found: dict[str, Any] = dict.fromkeys((*MODELS, "difference", "low", "high"))
    if first is not None:
        for model, evaluation in first.evaluations.items():
            found[model] = facts.mapping(evaluation.get("exact_match")).get("value")
        compared = facts.mapping(first.comparison)
        for key in ("difference", "low", "high"):
            found[key] = compared.get(key if key == "difference" else f"difference_{key}")
    return {key: value if is_number(value) else None for key, value in found.items()}


def head_of(recipe: Path) -> tuple[str, str]:
    """Return the name and the model of a recipe from its first lines."""
    try:
        with recipe.open("rb") as file:
            text = file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return "", ""
    found = (pattern.search(text) for pattern in (_NAME, _MODEL))
    name, model = (match[1].strip().strip("'\"") if match else "" for match in found)
    return name, "" if model == "null" else model
