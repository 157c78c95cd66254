"""Shared by the tests of problems: writing files, and the data folder on or off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's data folder must not decide what a test reads; ``real_data`` sets it again."""
    monkeypatch.setenv("MATHTUNE_DATA_DIR", "")


@pytest.fixture
def real_data(data_dir: Path, no_data_dir: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the published files, on; a test that needs it skips where there is none."""
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(data_dir.resolve()))
    return data_dir


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[[str, Iterable[Any]], str]:
    """Write objects as lines of a file in the temporary folder; return its path."""

    def write(name: str, rows: Iterable[Any]) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write
