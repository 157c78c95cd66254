"""Weights and tokenizer on disk are checked without torch, and nothing in them is believed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from command_for_tests import model_folder
from mathtune.errors import ModelError
from mathtune.models import files
from mathtune.models.checks.weight_files import read_header, tokenizer_fault
from timing_for_tests import least_seconds

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
AGAIN = "save or download the model again"


def safetensors(path: Path, header: Any, data: int = 8, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    stated = len(text) if length is None else length
    path.write_bytes(stated.to_bytes(8, "little") + text + bytes(data))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    (message,) = caught.value.faults
    assert message.startswith(str(path))
    assert message.endswith(AGAIN)
    return message.removeprefix(f"{path} ").removesuffix(f"; {AGAIN}")


def test_a_sound_file(tmp_path: Path) -> None:
    second = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}
    nothing = {"dtype": "F32", "shape": [0, 5], "data_offsets": [16, 16]}
    header = {"__metadata__": {"format": "pt"}, "b": second, "a": ONE, "c": nothing}
    path = safetensors(tmp_path / "w", header, 16)
    assert read_header(path) == {"a": ONE, "b": second, "c": nothing}
    with safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("header", "data", "length", "what"),
    [
        ({"a": ONE}, 8, 2**63, "is not a safetensors file: its header would be 9,223,372,036,854"),
        ({"a": ONE}, 8, 1000, "is not a safetensors file: its header would be 1,000 bytes long"),
        ({"a": ONE}, 3, None, "has 72 of its 77 bytes"),
        ({"a": ONE}, 9, None, "is damaged: 1 bytes at the end belong to no tensor"),
        ({"a": ONE, "b": ONE}, 8, None, "is damaged: tensor 'b' overlaps another"),
        ({"a": {**ONE, "data_offsets": [4, 12]}}, 12, None, "is damaged: 4 bytes before tensor"),
        ({"a": {**ONE, "shape": [2**40, 2**40]}}, 8, None, "is damaged: tensor 'a' takes 8 "),
        ({"a": {**ONE, "shape": [-2]}}, 8, None, "is damaged: tensor 'a' has a shape "),
        ({"a": {**ONE, "shape": [True, 2]}}, 8, None, "is damaged: tensor 'a' has a shape "),
        ({"a": {**ONE, "data_offsets": [-8, 0]}}, 8, None, "is damaged: tensor 'a' has a shape "),
        ({"a": {"dtype": "F32"}}, 8, None, "is not a safetensors file"),
        ({"a": None}, 8, None, "is not a safetensors file"),
        ({"a": {**ONE, "data_offsets": ["0", "8"]}}, 8, None, "is not a safetensors file"),
        ([1], 8, None, "is not a safetensors file"),
        (b"[" * 100_000, 8, None, "is not a safetensors file"),
        (b"\xff" * 20, 8, None, "is not a safetensors file"),
        (b"", 0, 0, "is not a safetensors file"),
    ],
)  # fmt: skip
def test_a_hostile_header(header: Any, data: int, length: int | None, what: str, tmp_path) -> None:
    path = safetensors(tmp_path / "w", header, data, length)
    assert refusal(path).startswith(what)
    assert least_seconds(partial(refusal, path), enough=0.1) < 1
    with pytest.raises((SafetensorError, ValueError)):  # nor does the library read it
        safe_open(path, framework="numpy")


def test_an_empty_file_and_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"")
    assert refusal(tmp_path / "w").endswith("and the file has 0")
    (tmp_path / "w").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    assert refusal(tmp_path / "w").startswith("is a Git LFS pointer, not the weights themselves")


def sharded(folder: Path, weight_map: Any) -> list[str]:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    try:
        files.read_config(str(folder))
    except ModelError as error:
        return error.faults
    return []


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_an_index_names_files_and_tensors_that_are_there(tmp_path: Path) -> None:
    assert sharded(model_folder(tmp_path / "m"), {"w": FIRST}) == []


@pytest.mark.parametrize(
    ("weight_map", "what"),
    [
        ({"w": FIRST, "x": SECOND}, f"names 1 file ({SECOND}) missing from the folder"),
        ({"w": FIRST, "x": FIRST, "y": FIRST}, "names 2 tensors (x, y) missing from its files"),
        ({"w": "../other/model.safetensors"}, "has no weight_map of tensors to files next to it"),
        ({"w": "/etc/passwd"}, "has no weight_map of tensors to files next to it"),
        (None, "has no weight_map of tensors to files next to it"),
        ({"w": 1}, "has no weight_map of tensors to files next to it"),
    ],
)
def test_an_index_that_does_not_fit(weight_map: Any, what: str, tmp_path: Path) -> None:
    (fault,) = sharded(model_folder(tmp_path / "m"), weight_map)
    assert fault.startswith(f"{tmp_path}/m/model.safetensors.index.json {what}")


def test_shards_without_an_index(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / FIRST)
    with pytest.raises(ModelError, match=r"holds no model.safetensors or model.safetensors.index"):
        files.read_config(str(folder))


def vocabulary(
    folder: Path, rows: int, *, special: dict[str, str], text: bool = False
) -> str | None:
    words = {"a": 0, "b": 1, "c": 2}
    added = [{"id": 3, "content": "<pad>"}, {"id": 4, "content": "<image>"}]
    tokenizer = {"model": {"vocab": words}, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    config = {"vocab_size": rows}
    return tokenizer_fault("m", folder, {"text_config": config} if text else config)


def test_a_tokenizer_with_more_tokens_than_embeddings(tmp_path: Path) -> None:
    assert vocabulary(tmp_path, 5, special={"pad_token": "<image>"}) is None
    # Gemma 3's text models lack a row for <image_soft_token>.
    assert vocabulary(tmp_path, 4, special={"pad_token": "<pad>"}) is None
    for text in (False, True):
        fault = vocabulary(tmp_path, 3, special={"pad_token": "<pad>"}, text=text)
        assert fault is not None
        assert fault.startswith(
            "the tokenizer of 'm' has ids up to 3, and the model has embeddings for 3 tokens: 1 "
            "token ('<pad>' is 3) beyond them; give the tokenizer that the model was trained with"
        )
    fault = vocabulary(tmp_path, 1, special={})
    assert fault is not None
    assert "2 tokens ('b' is 1, 'c' is 2) beyond them" in fault
