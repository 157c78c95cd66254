"""Checks of arguments given in Python, where no command line has seen to their types."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError

_LONGEST = 60


def shown(value: object) -> str:
    """Return a value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python converts
        return f"a very large {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def path_text(name: str, value: Any, wanted: str) -> str:
    """Return a path or a name as text.

    Raises:
        ConfigError: It is neither a string nor a path of strings.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        raise ConfigError(f"{name}={shown(value)} has type {type(value).__name__}; give {wanted}")
    return text


def folder_or_none(run_dir: Any) -> Path | None:
    """Return the run folder as a path, or None if none is given.

    Raises:
        ConfigError: It is neither a string nor a path.
    """
    if run_dir is None:
        return None
    return Path(path_text("run_dir", run_dir, "a folder as a string or a Path"))


def recipe_or_name(recipe: Any) -> Recipe | str:
    """Return a recipe as it is, and a name or path as text.

    Raises:
        ConfigError: It is none of them.
    """
    if isinstance(recipe, Recipe):
        return recipe
    return path_text("recipe", recipe, "a recipe, its name or its file")


def whole_number(name: str, value: Any) -> int:
    """Return a whole number of any type, such as NumPy's, as an ``int``.

    Raises:
        ConfigError: It is none.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ConfigError(f"{name}={shown(value)} has type {type(value).__name__}; give a whole number")


def text(name: str, value: Any, wanted: str) -> str:
    """Return a text that can be encoded.

    Raises:
        ConfigError: It is no string, or holds half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name}={shown(value)} has type {type(value).__name__}; give {wanted}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} holds the lone surrogate {value[error.start]!r} at character "
            f"{error.start + 1}, which is not valid Unicode; remove it"
        ) from error
    return value
