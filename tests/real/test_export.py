"""Real models as GGUF files answer in llama.cpp as they do here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import mathtune as mt

if importlib.util.find_spec("xllamacpp") is None:
    pytest.skip("xllamacpp is not installed; `make test-real` does it", allow_module_level=True)

MODELS = {"smollm2": "smollm2-135m-instruct", "gemma": "gemma-3-270m"}


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_answers_as_the_model(
    name: str, kind: str, tmp_path: Path, request: Any, record_property: Any
) -> None:
    """With 16 bits all but ties are equal; with 8 llama.cpp rounds activations to 8 bits too."""
    request.getfixturevalue(name)  # fetched
    found = mt.export(
        MODELS[name], "gguf", ["data.test=svamp:test"], output=tmp_path / "x.gguf", type=kind
    )
    print(f"{name}, {kind}: {found}")
    record_property("figure", str(found))
    check = found.figures["check"]
    assert check["problems"] == 20
    assert check["same"] >= (18 if kind == "f16" else 10), found
    assert check["largest_gap"] < (0.01 if kind == "f16" else 1.0), found
