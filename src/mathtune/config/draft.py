"""A recipe with faults: what they are, and what is left of the recipe without them.

The rest can then be checked against files, models and disk, so that all faults are told at once.
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
"""Takes the place of what must be there and is faulty; of these there is nothing to check."""

_ROUNDS = 8  # leaving a fault out can uncover another one in the section around it


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipe as far as it is sound.

    Attributes:
        recipe: The recipe; where there are faults, with defaults and stand-ins in their place.
        faults: One sentence a fault; none: the recipe is as it was written.
    """

    recipe: Recipe
    faults: tuple[str, ...]


def draft(raw: Mapping[str, Any]) -> Draft:
    """Validate a mapping as a recipe, and keep what is sound of it."""
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
        if not places:  # its parts are sound and contradict each other
            keys = [".".join(place) for place in left_out]
            faults += [f for f in found if f not in faults and not any(key in f for key in keys)]
            return Draft(_unchecked(rest), tuple(faults))
        for place in sorted(places, key=_from_the_end):
            _leave_out(rest, place)
        left_out += places
    stand_in = {place[0]: value for place, value in _STAND_INS.items() if len(place) == 1}
    return Draft(Recipe.model_validate(stand_in), tuple(faults))


def _truth_as_text(section: type[BaseModel], values: dict[str, Any]) -> None:
    """Write ``true`` as a text where a number belongs, which would take it for 1."""
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
    """Return the places of faults; those of the recipe as a whole have none."""
    places = (tuple(key_parts(item["loc"])) for item in error.errors())
    return list(dict.fromkeys(place for place in places if place))


def _from_the_end(place: Place) -> list[tuple[int, str]]:
    """Sort list items last to first, so that leaving one out does not move the others."""
    return [(-int(part), "") if part.isdecimal() else (1, part) for part in place]


def _leave_out(raw: dict[str, Any], place: Place) -> None:
    """Take out what stands at a place, or what it was made from where it was written short."""
    found = _find(raw, place)
    if place in _STAND_INS:
        holder = raw if len(place) == 1 else raw[place[0]]
        holder[place[-1]] = copy.deepcopy(_STAND_INS[place])
    elif found is not None:
        holder, key = found
        del holder[key]


def _find(raw: dict[str, Any], place: Sequence[str]) -> tuple[Any, Any] | None:
    """Return the container and the key of the last part of a place that is there."""
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
    """Build a recipe of sound sections without the check that they fit together."""
    sections: dict[str, Any] = {
        name: TypeAdapter(annotation).validate_python(raw[name])
        for name, annotation in typing.get_type_hints(Recipe, include_extras=True).items()
        if name in raw
    }
    return Recipe.model_construct(**sections)
