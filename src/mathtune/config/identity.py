"""Which recipes are one experiment: what a run folder's name and its continuation depend on.

A knob that the schema marks as ``SameResult`` says how the work is done, not what comes of it: a
run goes on with another value. Knobs at their defaults are left out of the name, so that a new knob
in a later version leaves the names of folders as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.config.wording import leaves

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Change:
    """A knob that differs between two recipes.

    Attributes:
        key: Dotted.
        before: Its value in the one, as an override is written.
        after: Its value in the other.
        same_result: Whether nothing of the outcome depends on it.
    """

    key: str
    before: str
    after: str
    same_result: bool


def keys_of_same_result() -> set[str]:
    """Return the dotted keys of the knobs on which nothing of the outcome depends."""
    return {
        key
        for key, field in leaves()
        if field.exclude
        or (isinstance(field.json_schema_extra, dict) and field.json_schema_extra["same_result"])
    }


def identity(recipe: Recipe) -> str:
    """Return a text that is the same for the same experiment, and only then."""
    given = recipe.model_dump(mode="json", exclude_defaults=True)
    free = keys_of_same_result()
    own = {key: value for key, value in _flat(given) if key not in free}
    return json.dumps(own, sort_keys=True)


def changes(before: Recipe, after: Recipe) -> list[Change]:
    """Return the knobs in which two recipes differ, in the order of the schema."""
    free = keys_of_same_result()
    one, other = (each.model_dump(mode="json") for each in (before, after))
    if (before.adapter is None) != (after.adapter is None):
        pairs = [("adapter", one.pop("adapter"), other.pop("adapter"))]
    else:
        pairs = []
    flat, there = dict(_flat(one)), dict(_flat(other))
    pairs += [(key, value, there[key]) for key, value in flat.items()]
    return [
        Change(key, _shown(key, old), _shown(key, new), key in free)
        for key, old, new in pairs
        if old != new
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys down to the knobs; what a knob holds stays whole."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and not prefix:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _shown(key: str, value: Any) -> str:
    if key == "eval.base_url":  # may hold a password
        return "***"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
