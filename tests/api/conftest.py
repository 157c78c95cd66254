"""A tiny model in a folder, and an own working directory and silence for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mathtune as mt
from command_for_tests import solved
from models_for_tests import saved_model

PROBLEMS = [solved(number) for number in range(2, 8)]

SHORT = {"max_new_tokens": 8}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, _ = saved_model(tmp_path_factory.mktemp("model") / "llama", "llama")
    return folder


@pytest.fixture(autouse=True)
def own_folder_and_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    mt.show_progress(False)
    yield
    mt.show_progress(False)
