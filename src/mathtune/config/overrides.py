"""Overrides of a recipe's knobs: ``key=value`` in a command, keys and values in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import yaml

from mathtune.config.schema import Recipe
from mathtune.config.wording import section_of
from mathtune.config.yaml_loader import TooLarge, read_yaml
from mathtune.errors import ConfigError

_OF_ANOTHER_MODEL = ("from_config", "train_tokenizer", "revision")


def as_override(key: str, value: Any) -> str:
    """Return the override that sets ``key`` to exactly ``value``, however YAML would read it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"  # JSON is YAML with everything quoted


def overrides_from_python(
    overrides: Sequence[str] | Mapping[str, Any], knobs: Mapping[str, Any]
) -> list[str]:
    """Return overrides given in Python as ``key=value`` texts.

    Args:
        overrides: ``["train.max_steps=10"]``, as in a command, or ``{"train.max_steps": 10}``.
        knobs: Keyword arguments: ``seed=1``, ``model="PATH"``, and sections as mappings, of which
            only the keys given are set: ``train={"max_steps": 10}``.

    Raises:
        ConfigError: If ``overrides`` is a single string, or a value has a type that no recipe uses.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r} is a single string; give a list of strings")
    if not isinstance(overrides, Mapping):
        _check_list(overrides)
        return [*overrides, *_from_mapping(dict(_flat(knobs)))]
    return _from_mapping({**overrides, **dict(_flat(knobs))})


def _check_list(overrides: object) -> None:
    kind = type(overrides).__name__
    if not isinstance(overrides, Iterable) or isinstance(overrides, bytes):
        raise ConfigError(f"overrides has type {kind}; give a list of strings or a mapping")
    if isinstance(overrides, Sequence) and (
        wrong := [each for each in overrides if not isinstance(each, str)]
    ):
        raise ConfigError(f"overrides holds {wrong[0]!r}; give strings such as 'seed=1'")


def _flat(knobs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in knobs.items():
        field = Recipe.model_fields.get(key)
        if isinstance(value, Mapping) and field is not None and section_of(field.annotation):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def _from_mapping(given: Mapping[str, Any]) -> list[str]:
    found, faults = [], []
    for key, value in given.items():
        try:
            found.append(as_override(key, fspath(value) if isinstance(value, PathLike) else value))
        except (TypeError, ValueError):
            faults.append(
                f"{key} is a {type(value).__name__}; give a number, a string, a list or a mapping"
            )
    if faults:
        raise ConfigError(faults)
    return found


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Write every override into ``raw``; return a sentence for each that fails."""
    faults = []
    given: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            faults.append(
                f"override {override!r} is not of the form key=value; write for example "
                "train.max_steps=100"
            )
        elif given.setdefault(key, text) != text:
            faults.append(f"{key} is given as {given[key]} and as {text}; give it once")
        else:
            try:
                fault = _write(raw, key, _value(text))
            except TooLarge as error:
                fault = f"override {key} is too large: {error.problem}; give fewer"
            faults += [fault] if fault else []
    return faults


def _value(text: str) -> Any:
    try:
        return read_yaml(text) if text.strip() else None
    except TooLarge:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2024-13-45
        return text


def _write(raw: dict[str, Any], key: str, value: Any) -> str | None:
    """Set one key; return the fault if there is no place for it."""
    *parents, last = key.split(".")
    node: Any = raw
    for depth, parent in enumerate(parents):
        if parent == "model" and isinstance(node, dict) and isinstance(node.get(parent), str):
            node[parent] = {"name_or_path": node[parent]}
        if isinstance(node, dict):
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
        elif (index := _index(node, parent)) is not None:
            node = node[index]
        else:
            return _no_place(key, node, parents[:depth], parent)
    if isinstance(node, dict):
        if key == "model" and isinstance(value, str):
            value = _swapped(node.get("model"), value)
        node[last] = value
    elif (index := _index(node, last)) is not None:
        node[index] = value
    else:
        return _no_place(key, node, parents, last)
    return None


def _index(node: Any, part: str) -> int | None:
    """Return the index that ``part`` names, if ``node`` is a list with that item."""
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return int(part)
    return None


def _no_place(key: str, node: Any, path: Sequence[str], part: str) -> str:
    where = ".".join(path)
    if not isinstance(node, list):
        return f"override {key}: {where} has no keys of its own; set {where} itself"
    return (
        f"override {key}: {where} is a list of {len(node)} and {part!r} is no index in it; give a "
        f"number from 0 to {len(node) - 1}, or set {where} itself"
    )


def _swapped(model: Any, name: str) -> dict[str, Any]:
    """Return the model section for another model, held in memory the same way."""
    kept = dict(model) if isinstance(model, dict) else {}
    for key in _OF_ANOTHER_MODEL:
        kept.pop(key, None)
    return {**kept, "name_or_path": name}
