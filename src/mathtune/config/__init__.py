"""Recipes: the schema of every knob, and loading with overrides."""

from mathtune.config.identity import changes, identity
from mathtune.config.loading import dump, knobs, load, load_draft, parse, parse_saved, recipe_names
from mathtune.config.overrides import as_override, overrides_from_python
from mathtune.config.schema import Recipe

__all__ = [
    "Recipe",
    "as_override",
    "changes",
    "dump",
    "identity",
    "knobs",
    "load",
    "load_draft",
    "overrides_from_python",
    "parse",
    "parse_saved",
    "recipe_names",
]
