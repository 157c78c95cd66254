"""Data tools from Python: what a recipe trains on, and a source checked before it is used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mathtune import config, preflight
from mathtune.api.arguments import path_text, recipe_or_name, whole_number
from mathtune.api.recipes import Overrides, StrPath
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.preflight.data_preview import DataPreview
from mathtune.preflight.data_preview import data_preview as preview
from mathtune.problems.check import DataCheck, Pair, check_source
from mathtune.progress.display import show_by_default
from mathtune.storage import cannot_write

SourceName = str | os.PathLike[str] | Mapping[str, Any]


def data_preview(
    recipe: Recipe | StrPath, overrides: Overrides = (), *, show: int = 3, **knobs: Any
) -> DataPreview:
    """Show what a recipe would train on: whole examples token by token, lengths, what is left out.

    Args:
        recipe: A recipe, its name or its file.
        overrides: As in ``load_recipe``.
        show: How many whole examples.
        **knobs: As in ``load_recipe``.

    Raises:
        ConfigError: With every fault of the recipe.
        DataError: Problems cannot be read or used.
        ModelError: The tokenizer cannot be loaded or cannot render the prompt style.
    """
    show_by_default()
    show = whole_number("show", show)
    if show < 0:
        raise ConfigError(f"show={show} is below 0; give how many examples to show")
    given = config.overrides_from_python(overrides, knobs)
    purpose = preflight.Purpose.PLAN
    return preview(preflight.load(recipe_or_name(recipe), given, None, purpose), show=show)


def data_check(
    source: SourceName,
    *,
    against: SourceName | Iterable[SourceName] = (),
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> DataCheck:
    """Check a source: unreadable answers, duplicates, false steps, and test questions in it.

    The source is read once, row by row; only the test sets and 32 bytes per row are in memory.

    Args:
        source: A file, a known set or hub id (``"orca-math"``), or the settings of a source
            (``{"path": "mine.jsonl", "prose": True}``).
        against: Test sets to compare with, for example ``"gsm8k:test"``.
        output: File for every row that resembles a test question, next to that, as JSON lines.
        overwrite: Whether an output that exists may be replaced; a source never is.

    Raises:
        DataError: The source or a test set cannot be found or read.
        ConfigError: A source is not written correctly, or the output exists.
        DiskError: The output cannot be written.
    """
    show_by_default()
    sets = _sets(against)
    given = {"data.train": [_named(source)]}
    if sets:
        given["data.test"] = [_named(each) for each in sets]
    recipe = config.load("gsm8k-eval", config.overrides_from_python(given, {}))
    with ExitStack() as stack:
        wanted = "the file for the pairs as a string or a Path"
        pairs = None
        if output is not None:
            file = Path(path_text("output", output, wanted))
            _check_output(file, recipe, overwrite=overwrite)
            pairs = stack.enter_context(_Pairs(file))
        return check_source(
            recipe.data.train[0],
            recipe.data if sets else None,
            on_pair=pairs.write if pairs is not None else lambda pair: None,
        )


def _check_output(output: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Raise ConfigError if an output would replace what may not be replaced."""
    if not output.exists():
        return
    tests = [source for test in recipe.data.test for source in test.sources]
    read = [source.path for source in (*recipe.data.train, *tests) if source.path]
    if any(Path(path).resolve() == output.resolve() for path in read):
        raise ConfigError(f"the output would replace {output} itself; give --output another name")
    if not overwrite:
        raise ConfigError(f"{output} already exists; give --overwrite, or another --output")


class _Pairs:
    """A file of pairs, which gets its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.part")

    def __enter__(self) -> _Pairs:
        try:
            self._file = self._temporary.open("w", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return self

    def write(self, pair: Pair) -> None:
        """Write one line."""
        row = {name: value for name, value in asdict(pair).items() if value is not None}
        try:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._temporary.replace(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        finally:
            self._temporary.unlink(missing_ok=True)


def _sets(against: SourceName | Iterable[SourceName]) -> list[SourceName]:
    if isinstance(against, str | Mapping):
        return [against]
    return [against] if isinstance(against, os.PathLike) else list(against)


def _named(source: SourceName) -> Any:
    return os.fspath(source) if isinstance(source, os.PathLike) else source
