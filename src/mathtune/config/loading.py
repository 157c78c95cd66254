"""Recipes from YAML and ``key=value`` overrides; all faults found are reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from mathtune.config.draft import Draft, draft
from mathtune.config.identity import keys_of_same_result
from mathtune.config.overrides import apply_overrides
from mathtune.config.schema import Recipe
from mathtune.config.wording import leaves
from mathtune.config.yaml_loader import BoundedLoader
from mathtune.errors import ConfigError, did_you_mean
from mathtune.text.redaction import redact

_CHECKED_WHERE_USED = ("eval.base_url", "eval.api_key_env")
"""Knobs whose own checks refuse a secret with a more fitting message."""

ENDINGS = (".yaml", ".yml")

RETIRED = (("eval", "bootstrap_resamples"),)
"""Knobs of earlier versions: their run folders still have them, nothing depends on them."""


def recipe_names() -> list[str]:
    """Names of the recipes in the package, sorted."""
    folder = resources.files("mathtune.recipes")
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def recipe_text(name_or_path: str) -> str:
    """Return the YAML text of a recipe given by name or by path.

    Raises:
        ConfigError: If there is no such recipe or file, or it cannot be read.
    """
    if name_or_path.endswith(ENDINGS) or "/" in name_or_path:
        return _file_text(Path(name_or_path))
    names = recipe_names()
    if name_or_path not in names:
        raise ConfigError(
            f"no recipe is called {name_or_path!r}; give the path of a YAML file or one of "
            f"{', '.join(names)}{did_you_mean(name_or_path, names)}"
        )
    return resources.files("mathtune.recipes").joinpath(f"{name_or_path}.yaml").read_text("utf-8")


def load(name_or_path: str | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply overrides such as ``train.learning_rate=1e-4`` or ``model=PATH``.

    Raises:
        ConfigError: With one fault a wrong key, value or combination.
    """
    loaded = load_draft(name_or_path, overrides)
    if loaded.faults:
        raise ConfigError(loaded.faults)
    return loaded.recipe


def load_draft(name_or_path: str | Recipe, overrides: Sequence[str] = ()) -> Draft:
    """Load a recipe as ``load`` does, and return its faults with what is valid of it.

    Raises:
        ConfigError: If there is no such recipe, or it is not a YAML mapping.
    """
    if isinstance(name_or_path, Recipe):
        return _draft(_as_mapping(name_or_path), (), overrides)
    try:
        raw, repeated = _read(recipe_text(name_or_path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"recipe {name_or_path!r} is not valid YAML ({_yaml_problem(error)}); correct it there"
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"recipe {name_or_path!r} holds {_kind(raw)} where the keys name, model and data "
            "should be; print one to start from with mathtune recipes demo"
        )
    return _draft(raw, repeated, overrides)


def _draft(raw: dict[str, Any], faults: Sequence[str], overrides: Sequence[str]) -> Draft:
    faults = [*faults, *apply_overrides(raw, overrides), *_blank_secrets(raw)]
    found = draft(raw)
    return Draft(found.recipe, tuple(dict.fromkeys([*faults, *found.faults])))


def _blank_secrets(node: Any, key: str = "") -> Iterator[str]:
    """Blank every value that holds a secret, and yield a sentence for each, without the secret.

    The recipe is kept in the run folder, sent to trackers and printed.
    """
    for name, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        where = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict | list):
            yield from _blank_secrets(value, where)
        elif where in _CHECKED_WHERE_USED:
            continue
        elif isinstance(value, str) and (blanked := redact(value)) != value:
            node[name] = blanked
            yield (
                f"{where} holds a password, a token or an API key, and a recipe is kept in the run "
                "folder; remove it: log in with `hf auth login`, or set the environment variable "
                "for it, such as HF_TOKEN or OPENAI_API_KEY"
            )


def _as_mapping(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as if read from YAML, including what ``dump`` leaves out."""
    raw = recipe.model_dump(mode="json")
    for key, field in leaves():
        if field.exclude:
            section, _, name = key.partition(".")
            raw[section][name] = getattr(getattr(recipe, section), name)
    return raw


def parse(raw: Mapping[str, Any]) -> Recipe:
    """Validate a mapping as a recipe.

    Raises:
        ConfigError: With one fault a wrong key, value or combination.
    """
    found = draft(raw)
    if found.faults:
        raise ConfigError(found.faults)
    return found.recipe


def parse_saved(raw: Mapping[str, Any]) -> Recipe:
    """Validate a run folder's stored recipe, ignoring knobs that no longer exist.

    Raises:
        ConfigError: As ``parse`` does.
    """
    kept = dict(raw)
    for section, knob in RETIRED:
        if isinstance(values := kept.get(section), dict):
            kept[section] = {key: value for key, value in values.items() if key != knob}
    return parse(kept)


def dump(recipe: Recipe) -> str:
    """Return the complete recipe as YAML; loading it again gives an equal recipe.

    Values that the schema marks as ``Unrecorded`` are left out.
    """
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def knobs() -> Iterator[tuple[str, str, str]]:
    """Yield ``(dotted key, default, documentation)`` of every knob, in the order of the schema."""
    free = keys_of_same_result()
    for key, field in leaves():
        default = (
            "required"
            if field.is_required()
            else repr(field.get_default(call_default_factory=True, validated_data={}))
        )
        text = " ".join((field.description or "").split())
        if key in free:
            text += " A run can be continued with another value."
        yield key, default, text


def _file_text(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = sorted(each.name for each in path.parent.glob("*") if each.suffix in ENDINGS)
        where = "this folder" if path.parent == Path() else path.parent
        there = f"; {where} holds {', '.join(near[:5])}" if near else ""
        raise ConfigError(
            f"recipe file {str(path)!r} does not exist; check the path{there}"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"recipe file {str(path)!r} cannot be read ({error.strerror or error}); give the path "
            "of a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"recipe file {str(path)!r} is not UTF-8 text (byte {error.start:,}); give the path "
            "of a YAML file"
        ) from error


class _Loader(BoundedLoader):
    """Records keys that are written twice; YAML would silently take the second."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            first = lines.setdefault(str(key.value), line)
            if first != line:
                self.repeated.append(
                    f"key {key.value} is on line {first} and again on line {line} of the "
                    "recipe; keep one of them"
                )
        return super().construct_mapping(node, deep)


def _read(text: str) -> tuple[Any, list[str]]:
    """Return the value of a YAML text, and a sentence for each key written twice."""
    loader = _Loader(text)
    try:
        return loader.get_single_data(), loader.repeated
    finally:
        loader.dispose()


def _yaml_problem(error: Exception) -> str:
    """Return what is wrong and where, on one line."""
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(text).split())


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else f"just {str(value)[:40]!r}"
