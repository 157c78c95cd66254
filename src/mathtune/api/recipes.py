"""Recipes from Python: load, plan, train, and run from start to finish."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mathtune import config, pipeline, preflight, stages
from mathtune.api.arguments import folder_or_none, path_text, recipe_or_name, text, whole_number
from mathtune.api.plan_result import PlanResult
from mathtune.api.results import RunResult, TrainResult
from mathtune.config.schema import Recipe
from mathtune.planning.facts import facts_of
from mathtune.preflight import Purpose
from mathtune.progress.display import show_by_default

StrPath: TypeAlias = "str | os.PathLike[str]"

Overrides: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""``["train.max_steps=10"]``, as on the command line, or ``{"train.max_steps": 10}``."""


def load_recipe(name_or_path: StrPath, overrides: Overrides = (), **knobs: Any) -> Recipe:
    """Load a recipe by name or from a YAML file, with your own overrides.

    Args:
        name_or_path: A name from ``mathtune recipes``, or a file.
        overrides: ``["train.max_steps=10"]`` or ``{"train.max_steps": 10}``.
        **knobs: The same by section: ``model="PATH"``, ``seed=1``, ``train={"max_steps": 10}``.
            Of a section only the keys given are set; ``adapter=None`` trains all weights.

    Raises:
        ConfigError: With one sentence per fault, all that were found.
    """
    given = config.overrides_from_python(overrides, knobs)
    return config.load(path_text("name_or_path", name_or_path, "a name or a file"), given)


def run(
    recipe: Recipe | StrPath,
    overrides: Overrides = (),
    *,
    run_dir: StrPath | None = None,
    fresh: bool = False,
    **knobs: Any,
) -> RunResult:
    """Do everything a recipe asks for: measure the base, train, measure the tuned model, report.

    Repeating the call continues an interrupted run, or returns the results of a finished one.

    Args:
        recipe: A recipe, its name or its file.
        overrides: As in ``load_recipe``.
        run_dir: Run folder; default: ``runs/NAME-HASH``, the same for the same recipe.
        fresh: Redo what the folder holds if it was made from other inputs.
        **knobs: As in ``load_recipe``.

    Raises:
        ConfigError: With every fault found before work begins.
        DataError: Problems cannot be read or used.
        ModelError: The model cannot be loaded or does not fit the recipe.
        RunError: The run folder belongs to another recipe, or is in use.
        TrainingStopped: On SIGINT or SIGTERM, after a checkpoint, or where a loss is not finite.
        DiskError: Something could not be written.
    """
    checked, folder = _checked(recipe, overrides, knobs, run_dir)
    return RunResult.read(Path(pipeline.run(checked, folder, fresh=fresh)["run_dir"]), checked)


def train(
    recipe: Recipe | StrPath,
    overrides: Overrides = (),
    *,
    run_dir: StrPath | None = None,
    fresh: bool = False,
    **knobs: Any,
) -> TrainResult:
    """Train as a recipe says, without measuring the model before and after.

    Args:
        recipe: A recipe, its name or its file.
        overrides: As in ``load_recipe``.
        run_dir: As in ``run``.
        fresh: As in ``run``.
        **knobs: As in ``load_recipe``.

    Raises:
        MathtuneError: As ``run``.
    """
    checked, folder = _checked(recipe, overrides, knobs, run_dir)
    return TrainResult.read(Path(pipeline.train(checked, folder, fresh=fresh)["run_dir"]), checked)


def _checked(
    recipe: Recipe | StrPath,
    overrides: Overrides,
    knobs: Mapping[str, Any],
    run_dir: StrPath | None,
) -> tuple[Recipe, Path | None]:
    show_by_default()
    folder = folder_or_none(run_dir)
    given = config.overrides_from_python(overrides, knobs)
    return preflight.load(recipe_or_name(recipe), given, folder, Purpose.TRAIN), folder


def plan(
    recipe: Recipe | StrPath,
    overrides: Overrides = (),
    *,
    device: str | None = None,
    memory: str | int | None = None,
    devices: int = 1,
    **knobs: Any,
) -> PlanResult:
    """Estimate what a training takes: parameters, memory, time, and what helps if it is too much.

    Only the model's configuration is read; nothing is downloaded if it is already known.

    Args:
        recipe: A recipe, its name or its file.
        overrides: As in ``load_recipe``.
        device: For example ``"RTX 4090"``, ``"H100"`` or ``"cpu"``; default: this machine.
        memory: Memory of a device, as ``"24GB"`` or in bytes; default: the device's own.
        devices: Number of devices to train on.
        **knobs: As in ``load_recipe``.

    Raises:
        ConfigError: With every fault of the recipe, or an unknown device.
        ModelError: The model's configuration cannot be read or built.
    """
    from mathtune.planning.gpu_specs import parse_bytes

    show_by_default()
    if device is not None:
        device = text("device", device, "its name, such as 'H100' or 'cpu'")
    if memory is not None:
        memory = parse_bytes(memory) if isinstance(memory, str) else whole_number("memory", memory)
    devices = whole_number("devices", devices)
    given = config.overrides_from_python(overrides, knobs)
    changed = preflight.planner(recipe_or_name(recipe), given)
    found = stages.plan(changed(()), device=device, memory=memory, devices=devices, changed=changed)
    return PlanResult(facts_of(found))
