"""Command-line options made from a recipe's knobs, so that no option is documented twice."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import click
from pydantic.fields import FieldInfo

from mathtune.config import as_override
from mathtune.config.loading import recipe_text
from mathtune.config.wording import leaves
from mathtune.config.yaml_loader import read_yaml

F = TypeVar("F", bound=Callable[..., Any])


class KnobOptions:
    """Options for some knobs; the values given become overrides of the recipe.

    Args:
        keys: Dotted keys, such as ``eval.samples`` for ``--samples``.
        recipe: The packaged recipe that the command starts from, whose values are the defaults.
        renamed: Name of the option → key, where the option has a different name.
    """

    def __init__(self, *keys: str, recipe: str | None = None, **renamed: str) -> None:
        fields = dict(leaves())
        self._recipe: Mapping[str, Mapping[str, Any]] = (
            read_yaml(recipe_text(recipe)) if recipe else {}
        )
        self._keys = {key.rpartition(".")[2]: key for key in keys} | renamed
        self._fields = {name: fields[key] for name, key in self._keys.items()}

    def __call__(self, function: F) -> F:
        """Add the options to a command."""
        for name, field in reversed(self._fields.items()):
            section, _, knob = self._keys[name].partition(".")
            text = _help(field, self._recipe.get(section, {}).get(knob, field.default))
            flag = "--" + name.replace("_", "-")
            accepted = kinds(field.annotation)
            if bool in accepted:
                flag = f"{flag}/--no-{flag[2:]}"
                option = click.option(flag, name, default=None, help=text)
            else:
                choices = [str(kind) for kind in accepted if isinstance(kind, str)]
                shown = "|".join(choices) or ("TEXT" if str in accepted else "NUMBER")
                option = click.option(flag, name, metavar=shown, help=text)
            function = option(function)
        return function

    def overrides(self, given: Mapping[str, Any]) -> list[str]:
        """Return the given options as overrides; the schema checks their values."""
        found = []
        for name, key in self._keys.items():
            value, accepted = given[name], kinds(self._fields[name].annotation)
            if value is not None:
                is_text = any(kind is str or isinstance(kind, str) for kind in accepted)
                quoted = is_text or isinstance(value, bool)
                found.append(as_override(key, value) if quoted else f"{key}={value}")
        return found


def kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the plain types in an annotation, and a Literal's values."""
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    parts = typing.get_args(annotation)
    return tuple(kind for part in parts for kind in kinds(part)) if parts else (annotation,)


def _help(field: FieldInfo, default: Any) -> str:
    text = (field.description or "").replace("``", "").replace("\n", " ")
    if default in (None, "") or isinstance(default, bool):
        return text
    return f"{text} [default: {default}]"
