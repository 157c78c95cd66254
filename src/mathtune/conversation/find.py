"""What a user names to chat with, a model or a run folder, as recipes to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune import runs
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, RunError
from mathtune.models.files import base_of_adapter, local_folder
from mathtune.preflight import Purpose, load
from mathtune.run_paths import RunPaths

BASE = "base"
"""``--against base``: the model that the named one was trained from."""

DEFAULT_RECIPE = "gsm8k-eval"


@dataclass(frozen=True)
class Named:
    """A model to load.

    Attributes:
        label: What it is called next to the other.
        recipe: What it is loaded and prompted with.
    """

    label: str
    recipe: Recipe


def find(model: str, against: str | None, overrides: Sequence[str] = ()) -> list[Named]:
    """Return the model that is named, and the one next to it, checked as far as files show.

    Both are prompted alike: as the run of the first one was, or as ``mathtune eval`` does.

    Args:
        model: Hub id, folder of a model or an adapter, or a run folder.
        against: Another one; ``base`` for what the first was trained from; None for one model.
        overrides: Knobs that differ.

    Raises:
        ConfigError: With every fault found.
        ModelError: There is no such model.
        RunError: The run folder cannot be read, or has no model yet.
    """
    run, own = _in_run(model)
    start: Recipe | str = DEFAULT_RECIPE if run is None else runs.stored_recipe(run.recipe)
    first = _load(start, own, overrides)
    if against is None:
        return [Named(_label(run, first), first)]
    if against == BASE:
        base = _base(model, run, start)
        return [Named("tuned", first), Named(BASE, _load(start, base, overrides))]
    other_run, other = _in_run(against)
    labels = [model, against] if run or other_run else [_short(model), _short(against)]
    return [
        Named(label, _load(start, each, overrides))
        for label, each in zip(_different(labels), (own, other), strict=True)
    ]


def _in_run(name: str) -> tuple[RunPaths | None, Mapping[str, Any]]:
    """Return the run that a run folder, or the ``model`` in one, is of, and what to load.

    Raises:
        RunError: It is a run whose training has not saved a model.
    """
    folder = Path(name).expanduser()
    paths = RunPaths(folder)
    if folder.is_dir() and paths.recipe.is_file():
        if paths.model.is_dir():
            return paths, _section(str(paths.model))
        recipe = runs.stored_recipe(paths.recipe)
        if recipe.model.name_or_path is None or any(paths.checkpoints.glob("*")):
            raise RunError(
                f"run folder {name} has no model/ yet; finish its training first, with the command "
                f"that is noted in {paths.manifest_file}"
            )
        measured = recipe.model  # a run that only measured it
        return paths, {**_section(measured.name_or_path or ""), "revision": measured.revision}
    parent = RunPaths(folder.absolute().parent)
    if folder.is_dir() and parent.recipe.is_file() and folder.name == parent.model.name:
        return parent, _section(name)
    return None, _section(name)


def _section(name: str) -> Mapping[str, Any]:
    return {"name_or_path": name, "revision": None, "from_config": None, "train_tokenizer": None}


def _base(model: str, run: RunPaths | None, start: Recipe | str) -> Mapping[str, Any]:
    """Return what the named model was trained from."""
    if run is not None and isinstance(start, Recipe):
        if not run.model.is_dir():
            raise ConfigError(
                f"--against base: {model} only measured {start.model.name_or_path}, nothing was "
                "trained; name another model"
            )
        if start.model.name_or_path is None:
            raise ConfigError(
                f"--against base: {model} was trained from random weights, so it has no base to "
                "compare with; name another model"
            )
        return {}
    folder = local_folder(model)
    base = None if folder is None else base_of_adapter(folder)
    if base is None:
        raise ConfigError(
            f"--against base: {model} is neither a run folder nor an adapter, so its base is not "
            "known; name the base, for example --against google/gemma-2b"
        )
    return {**_section(base[0]), "revision": base[1]}


def _load(start: Recipe | str, section: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    from mathtune.config import as_override

    # One by one, so that how the run holds its weights (dtype, 4 bits) stays.
    own = [as_override(f"model.{key}", value) for key, value in section.items()]
    recipe = load(start, [*own, *overrides], None, Purpose.CHAT)
    if recipe.eval.engine == "openai":
        raise ConfigError(
            f"{recipe.model.name_or_path} was measured behind a server, and chat loads a model in "
            "this process; name a folder or hub id"
        )
    return recipe


def _label(run: RunPaths | None, recipe: Recipe) -> str:
    return _short(recipe.model.name_or_path or "") if run is None else run.folder.name


def _short(name: str) -> str:
    return Path(name).name or name


def _different(labels: list[str]) -> list[str]:
    if len(set(labels)) == len(labels):
        return labels
    return [f"{number}: {label}" for number, label in enumerate(labels, 1)]
