"""A recipe with faults: what they are, and what is left of the recipe without them.

The rest can then be checked against files, models and disk, so that all faults are reported at
once.
"""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from mathtune.config.schema import Recipe
from mathtune.config.wording import key_parts, section_of, sentences

Place = tuple[str, ...]

_STAND_INS: dict[Place, Any] = {
    ("name",): "draft",
    ("model",): {"from_config": {"model_type": "llama"}, "train_tokenizer": 300},
    ("data",): {"train": {"generated": "facts", "n": 1}, "test": {"generated": "facts", "n": 1}},
    ("data", "train"): {"generated": "facts", "n": 1},
    ("data", "test"): {"generated": "facts", "n": 1},
}
"""Placeholder for a required value that is faulty; nothing about it is checked."""

_ROUNDS = 8  # removing a fault can uncover another one in the section around it


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipe as far as it is valid.

    Attributes:
        recipe: The recipe; with defaults and placeholders in place of faults.
        faults: One sentence per fault; none if the recipe is as it was written.
    """

    recipe: Recipe
    faults: tuple[str, ...]


def draft(raw: Mapping[str, Any]) -> Draft:
    """Validate a mapping as a recipe, and keep what is valid."""
    rest: dict[str, Any] = copy.deepcopy(dict(raw))
    if isinstance(rest.get("model"), str):
        rest["model"] = {"name_or_path": rest["model"]}
    _truth_as_text(Recipe, rest)
    faults: list[str] = []
    left_out: list[Place] = []
    for _ in range(_ROUNDS):
        try:
            return Draft(Recipe.model_validate(rest), tuple(faults))
        except ValidationError as error:
            found, places = sentences(error), _places(error)
        if not left_out:
            faults = found
        if not places:  # its sections are valid but contradict each other
            keys = [".".join(place) for place in left_out]
            faults += [f for f in found if f not in faults and not any(key in f for key in keys)]
            return Draft(_unchecked(rest), tuple(faults))
        for place in sorted(places, key=_from_the_end):
            _leave_out(rest, place)
        left_out += places
    stand_in = {place[0]: value for place, value in _STAND_INS.items() if len(place) == 1}
    return Draft(Recipe.model_validate(stand_in), tuple(faults))


def _truth_as_text(section: type[BaseModel], values: dict[str, Any]) -> None:
    """Turn ``true`` into text where a number belongs, or it would count as 1."""
    for name, field in section.model_fields.items():
        value, inner = values.get(name), section_of(field.annotation)
        if isinstance(value, bool) and _takes_numbers(field.annotation):
            values[name] = str(value).lower()
        for item in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(item, dict):
                _truth_as_text(inner, item)


def _takes_numbers(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_takes_numbers, typing.get_args(annotation)))


def _places(error: ValidationError) -> list[Place]:
    """Return the places of faults; those of the whole recipe have none."""
    places = (tuple(key_parts(item["loc"])) for item in error.errors())
    return list(dict.fromkeys(place for place in places if place))


def _from_the_end(place: Place) -> list[tuple[int, str]]:
    """Sort list items last to first, so that removing one does not shift the others."""
    return [(-int(part), "") if part.isdecimal() else (1, part) for part in place]


def _leave_out(raw: dict[str, Any], place: Place) -> None:
    """Remove the value at a place, or the shorthand it was made from."""
    found = _find(raw, place)
    if place in _STAND_INS:
        holder = raw if len(place) == 1 else raw[place[0]]
        holder[place[-1]] = copy.deepcopy(_STAND_INS[place])
    elif found is not None:
        holder, key = found
        del holder[key]


def _find(raw: dict[str, Any], place: Sequence[str]) -> tuple[Any, Any] | None:
    """Return the container and key of the deepest part of a place that exists."""
    node: Any = raw
    found = None
    for part in place:
        key: str | int = part
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            key = int(part)
        elif not isinstance(node, dict) or part not in node:
            continue
        found, node = (node, key), node[key]
    return found


def _unchecked(raw: Mapping[str, Any]) -> Recipe:
    """Build a recipe from valid sections without checking that they fit together."""
    sections: dict[str, Any] = {
        name: TypeAdapter(annotation).validate_python(raw[name])
        for name, annotation in typing.get_type_hints(Recipe, include_extras=True).items()
        if name in raw
    }
    return Recipe.model_construct(**sections)
