"""Recipes from YAML and ``key=value`` overrides; all faults found are reported at once."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, did_you_mean


def recipe_names() -> list[str]:
    """Names of the recipes in the package, sorted."""
    folder = resources.files("mathtune.recipes")
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def recipe_text(name_or_path: str) -> str:
    """Return the YAML text of a recipe given by name or by path.

    Raises:
        ConfigError: If there is no such recipe or file.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(f"recipe file {name_or_path!r} does not exist; check the path")
        return path.read_text(encoding="utf-8")
    names = recipe_names()
    if name_or_path not in names:
        raise ConfigError(
            f"no recipe is called {name_or_path!r}{did_you_mean(name_or_path, names) or '.'}"
            f" Known recipes: {', '.join(names)}; or give the path of a YAML file"
        )
    return resources.files("mathtune.recipes").joinpath(f"{name_or_path}.yaml").read_text("utf-8")


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply overrides such as ``train.learning_rate=1e-4`` or ``model=PATH``.

    Raises:
        ConfigError: With one fault a wrong key, value or combination.
    """
    try:
        raw = yaml.safe_load(recipe_text(name_or_path))
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {name_or_path!r} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {name_or_path!r} must be a mapping with the keys model, data, …")
    faults = [fault for text in overrides if (fault := _apply(raw, text))]
    try:
        recipe = parse(raw)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    if faults:
        raise ConfigError(faults)
    return recipe


def parse(raw: Mapping[str, Any]) -> Recipe:
    """Validate a mapping as a recipe.

    Raises:
        ConfigError: With one fault a wrong key, value or combination.
    """
    if isinstance(raw.get("model"), str):
        raw = {**raw, "model": {"name_or_path": raw["model"]}}
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            [sentence for item in error.errors() for sentence in _sentences(dict(item))]
        ) from None


def dump(recipe: Recipe) -> str:
    """Return the complete recipe as YAML; loading it again gives an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def knobs(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield ``(dotted key, default, documentation)`` of every knob, in the order of the schema."""
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section is not None and section.__name__ not in ("SourceConfig", "TestSetConfig"):
            yield from knobs(section, f"{prefix}{name}.")
        else:
            default = (
                "required"
                if field.is_required()
                else repr(field.get_default(call_default_factory=True, validated_data={}))
            )
            yield f"{prefix}{name}", default, " ".join((field.description or "").split())


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class inside an annotation such as ``AdapterConfig | None``."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _apply(raw: dict[str, Any], override: str) -> str | None:
    """Write one ``key=value`` into ``raw``; return the fault if it cannot be."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        return f"override {override!r} is not of the form key=value, as in train.max_steps=100"
    try:
        value = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError:
        value = text
    *parents, last = key.strip().split(".")
    node: Any = raw
    for depth, parent in enumerate(parents):
        if isinstance(node, list) and parent.isdigit() and int(parent) < len(node):
            node = node[int(parent)]
            continue
        if not isinstance(node, dict):
            return f"override {key!r}: {'.'.join(parents[:depth])} has no keys of its own"
        if node.get(parent) is None or (parent == "model" and isinstance(node[parent], str)):
            node[parent] = {} if node.get(parent) is None else {"name_or_path": node[parent]}
        node = node[parent]
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
        return None
    if not isinstance(node, dict):
        return f"override {key!r}: {'.'.join(parents)} has no keys of its own"
    if not parents and last == "model" and isinstance(value, str):
        model = node.get("model")  # swap the model, keep how it is to be held in memory
        kept = dict(model) if isinstance(model, dict) else {}
        for key_of_origin in ("from_config", "train_tokenizer", "revision"):
            kept.pop(key_of_origin, None)
        node["model"] = {**kept, "name_or_path": value}
        return None
    node[last] = value
    return None


def _sentences(error: Mapping[str, Any]) -> Iterator[str]:
    """Turn one pydantic error into sentences with the key, the value and the remedy."""
    # Union members and validators add parts to the location that are no keys; leave them out.
    location = [str(part) for part in error["loc"] if not _is_internal(str(part))]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        yield (
            f"unknown key {key}{did_you_mean(location[-1], known) or '.'} "
            f"Known keys here: {', '.join(sorted(known))}"
        )
        return
    if error["type"] == "missing":
        yield f"{key} is missing; add it to the recipe"
        return
    message = str(error["msg"])
    if error["type"] == "value_error":
        for part in message.removeprefix("Value error, ").split("\x1e"):
            yield f"{key} {part}" if key else part
        return
    yield f"{key}={error.get('input')!r}: {message[0].lower()}{message[1:]}"


def _is_internal(part: str) -> bool:
    return "[" in part or part in ("str", "SourceConfig", "AdapterConfig")


def _known_keys(location: Sequence[str]) -> list[str]:
    """Keys of the section at ``location``."""
    section: type[BaseModel] = Recipe
    for part in location:
        if part.isdigit():
            continue
        field = section.model_fields.get(part)
        inner = _deep_section_of(field.annotation) if field else None
        if inner is None:
            break
        section = inner
    return list(section.model_fields)


def _deep_section_of(annotation: Any) -> type[BaseModel] | None:
    """Like ``_section_of``, through lists and ``Annotated`` as well."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        found = _deep_section_of(part)
        if found is not None:
            return found
    return None
