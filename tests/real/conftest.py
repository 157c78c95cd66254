"""Real pretrained models, fetched once; `make test-real` runs these tests, `make test` does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mathtune.models import fetch
from mathtune.models.gguf import converted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.real)
            item.add_marker(pytest.mark.timeout(1800))


def fetched(name: str) -> Path:
    """Return the GGUF file of a model, downloaded if it is not there yet."""
    if not fetch.is_fetched(name):
        fetch.fetch(name, accept_licence=os.environ.get("MATHTUNE_ACCEPT_LICENSE") == "1")
    return fetch.place(name)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    return fetched("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def gemma() -> Path:
    """The GGUF file of Gemma 3 270M."""
    if not fetch.is_fetched("gemma-3-270m") and os.environ.get("MATHTUNE_ACCEPT_LICENSE") != "1":
        pytest.skip("gemma-3-270m is not there; MATHTUNE_ACCEPT_LICENSE=1 accepts Gemma's terms")
    return fetched("gemma-3-270m")


@pytest.fixture(scope="session")
def folder(smollm2: Path) -> Path:
    """SmolLM2-135M-Instruct as float32 safetensors."""
    return converted(smollm2)
