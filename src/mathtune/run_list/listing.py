"""All runs below a root, filtered and sorted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mathtune.config.wording import leaves
from mathtune.config.yaml_loader import read_yaml
from mathtune.errors import ConfigError, RunError, did_you_mean
from mathtune.run_list.find import find_runs
from mathtune.run_list.summary import RunSummary, summary_of
from mathtune.run_paths import RunPaths


def _descending(value: float | None) -> tuple[bool, float]:
    return value is None, -(value or 0.0)


_SWITCHED = {"yes": True, "on": True, "no": False, "off": False}
"""What a recipe's switches also take."""

SORTS: Mapping[str, Callable[[RunSummary], Any]] = {
    "when": lambda run: _descending(run.changed.timestamp()),
    "name": lambda run: run.name,
    "recipe": lambda run: run.recipe,
    "status": lambda run: run.status,
    "base": lambda run: _descending(run.base),
    "tuned": lambda run: _descending(run.tuned),
    "difference": lambda run: _descending(run.difference),
    "size": lambda run: _descending(run.size),
}
"""Orders by name: texts ascending, figures largest first and those without one last."""


def list_runs(root: Path, *, sort: str = "when", filters: Sequence[str] = ()) -> list[RunSummary]:
    """Return the runs below a root, rounds inside a run left out.

    Args:
        root: A folder; without runs in it the list is empty.
        sort: One of ``SORTS``.
        filters: ``KEY=VALUE``, where the key is a field of ``RunSummary`` or of the recipe, such as
            ``train.objective=grpo``; or a text in name, recipe, model or status. All must hold.

    Raises:
        RunError: The root is not a folder.
        ConfigError: A filter is empty, or its key unknown; with every fault.
    """
    if not root.is_dir():
        raise RunError(f"{root} is not a folder; give the folder that holds the run folders")
    tests, faults = [], list[str]()
    for text in filters:
        try:
            tests.append(_test(text))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    found = [summary_of(folder, root) for folder in find_runs(root)]
    kept = [run for run in found if all(test(run) for test in tests)]
    return sorted(sorted(kept, key=lambda run: run.name), key=SORTS[sort])


def _test(text: str) -> Callable[[RunSummary], bool]:
    key, equals, value = text.partition("=")
    if not text.strip() or (equals and not key.strip()):
        raise ConfigError(
            f"--filter {text!r} is empty; give a text, or KEY=VALUE as status=finished"
        )
    if not equals:
        word = text.lower()
        return lambda run: any(
            word in part.lower() for part in (run.name, run.recipe, run.model, run.status)
        )
    if key in RunSummary.__slots__:
        return lambda run: str(getattr(run, key)).lower() == value.lower()
    _check_knob(text, key)
    wanted = (_value(value), _SWITCHED.get(value.lower(), _value(value)))
    return lambda run: _knob(run.folder, key) in wanted


def _check_knob(text: str, key: str) -> None:
    """Raise ConfigError where no recipe has a key."""
    knobs = [knob for knob, _ in leaves()]
    if any(f"{key}.".startswith(f"{knob}.") or knob.startswith(f"{key}.") for knob in knobs):
        return
    fields = [*RunSummary.__slots__]
    same = next((knob for knob in knobs if knob.rpartition(".")[2] == key), None)
    hint = f"; did you mean {same!r}?" if same else did_you_mean(key, [*fields, *knobs])
    raise ConfigError(
        f"--filter {text!r}: unknown key {key}; give {', '.join(fields)} or a key of the recipe, "
        f"as in train.objective=grpo (mathtune recipes --knobs lists them){hint}"
    )


def _knob(folder: Path, key: str) -> Any:
    """Return a recipe's value of a dotted key; a new object, equal to nothing, if it has none."""
    try:
        node = read_yaml(RunPaths(folder).recipe.read_text("utf-8"))
        for part in key.split("."):
            node = node[part]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, RecursionError):
        return object()
    return node


def _value(text: str) -> Any:
    try:
        return read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
