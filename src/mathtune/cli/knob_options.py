"""Command-line options made from a recipe's knobs, so that no option is documented twice."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import click
from pydantic.fields import FieldInfo

from mathtune.config import as_override
from mathtune.config.wording import leaves

F = TypeVar("F", bound=Callable[..., Any])


class KnobOptions:
    """Options for some knobs; the values given become overrides of the recipe.

    Args:
        keys: Dotted keys, such as ``eval.samples`` for ``--samples``.
        renamed: Name of the option → key, where the option has a different name.
    """

    def __init__(self, *keys: str, **renamed: str) -> None:
        fields = dict(leaves())
        self._keys = {key.rpartition(".")[2]: key for key in keys} | renamed
        self._fields = {name: fields[key] for name, key in self._keys.items()}

    def __call__(self, function: F) -> F:
        """Add the options to a command."""
        for name, field in reversed(self._fields.items()):
            flag = "--" + name.replace("_", "-")
            accepted = kinds(field.annotation)
            if bool in accepted:
                flag = f"{flag}/--no-{flag[2:]}"
                option = click.option(flag, name, default=None, help=_help(field))
            else:
                choices = [str(kind) for kind in accepted if isinstance(kind, str)]
                shown = "|".join(choices) or ("TEXT" if str in accepted else "NUMBER")
                option = click.option(flag, name, metavar=shown, help=_help(field))
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


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("``", "").replace("\n", " ")
    if field.default in (None, "") or isinstance(field.default, bool):
        return text
    return f"{text} [default: {field.default}]"
