"""Data tools from Python: a source looked through before it is trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mathtune import config
from mathtune.problems.check import DataCheck, Pair, check_source

SourceName = str | os.PathLike[str] | Mapping[str, Any]


def data_check(
    source: SourceName,
    *,
    against: SourceName | Iterable[SourceName] = (),
    output: str | os.PathLike[str] | None = None,
) -> DataCheck:
    """Check a source: unreadable answers, duplicates, false steps, and test questions in it.

    The source is read once, row by row; only the test sets and 24 bytes per row are in memory.

    Args:
        source: A file, a known set or hub id (``"orca-math"``), or the settings of a source
            (``{"path": "mine.jsonl", "prose": True}``).
        against: Test sets to compare with, for example ``"gsm8k:test"``.
        output: File for every row that resembles a test question, next to that, as JSON lines.

    Raises:
        DataError: The source or a test set cannot be found or read.
        ConfigError: A source is not written correctly.
        OSError: The output cannot be written.
    """
    one = isinstance(against, str | os.PathLike | Mapping)
    sets = [against] if one else list(against)  # type: ignore[list-item, arg-type]
    given = {"data.train": [_named(source)]}
    if sets:
        given["data.test"] = list(map(_named, sets))
    recipe = config.load("gsm8k-eval", config.overrides_from_python(given, {}))
    with ExitStack() as stack:
        pairs = _Pairs(Path(output)) if output is not None else None
        if pairs is not None:
            stack.enter_context(pairs)
        return check_source(
            recipe.data.train[0],
            recipe.data if sets else None,
            on_pair=pairs.write if pairs is not None else lambda pair: None,
        )


class _Pairs:
    """A file of pairs, which gets its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")

    def __enter__(self) -> _Pairs:
        self._file = self._temporary.open("w", encoding="utf-8")
        return self

    def write(self, pair: Pair) -> None:
        """Write one line."""
        row = {name: value for name, value in asdict(pair).items() if value is not None}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink()


def _named(source: SourceName) -> Any:
    return os.fspath(source) if isinstance(source, os.PathLike) else source
