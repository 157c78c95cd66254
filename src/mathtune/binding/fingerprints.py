"""Fingerprints of problems, and of the models in folders and in the hub's cache; no torch.

The content of files counts, not their location: a model moved or copied keeps its fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mathtune.binding.inputs import Inputs, digest
from mathtune.errors import MathtuneError
from mathtune.models import files as model_files
from mathtune.records import PredictionRow, Problem

_CORE = 12
"""Hex digits for question, solution and final answer; as many follow for the rest of a problem."""

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_FAST_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_CONFIGURATION_FILES = ("config.json", "adapter_config.json", "generation_config.json")
_VOLATILE = (
    *("transformers_version", "_name_or_path", "peft_version", "base_model_name_or_path"),
    *("revision", "chat_template"),
)
"""Keys that say where a file came from, not what it does; a template is an item of its own."""

Hash = Callable[[Path], str]
"""SHA-256 of a file, in hex: ``FileHashes``, which remembers it."""


# --- Problems ------------------------------------------------------------------------------------


def problem_fingerprint(problem: Problem) -> str:
    """Return 24 hex digits of a problem's content; its source is left out."""
    rest = {
        each.name: getattr(problem, each.name)
        for each in fields(problem)
        if each.name not in ("id", "source", "question", "answer", "gold")
    }
    core = digest([problem.question, problem.answer, problem.gold])[:_CORE]
    return core + digest(rest)[:_CORE]


def row_fingerprint(row: PredictionRow) -> str:
    """Return the start of the fingerprint of a predictions row's problem."""
    return digest([row["question"], row["answer"], row["gold"]])[:_CORE]


def cores(fingerprints: Sequence[str]) -> set[str]:
    """Return what ``row_fingerprint`` gives for rows about these problems."""
    return {each[:_CORE] for each in fingerprints}


# --- Models --------------------------------------------------------------------------------------


def model_inputs(name: str | None, revision: str | None, hash_of: Hash) -> Inputs:
    """Return the items of a model that is on this machine; those that are not are empty.

    Args:
        name: Folder, ``tiny-base`` or hub id, looked up in the cache; None: no model.
        revision: On the hub.
        hash_of: Hashes a file with weights.
    """
    folder = None
    if name is not None:
        try:
            folder = model_files.local_folder(name, revision)
        except MathtuneError:  # reported by whoever loads it
            folder = None
    if name is None or folder is None:
        return Inputs(model=name or "random weights")
    config = [_read(folder / file) for file in _CONFIGURATION_FILES]
    own = Inputs(
        model=name,
        weights={path.name: hash_of(path) for path in _weight_files(folder)},
        configuration=digest(config)[:16] if any(config) else "",
        tokenizer=_tokenizer(folder),
        template=_template(folder),
    )
    adapter = _read(folder / "adapter_config.json", whole=True)
    if not isinstance(adapter, dict):
        return own
    base = model_inputs(adapter.get("base_model_name_or_path"), adapter.get("revision"), hash_of)
    under = {**base.weights, "config.json": base.configuration} if base.weights else {}
    return replace(
        own,
        weights={**own.weights, **{f"base/{file}": each for file, each in under.items()}},
        tokenizer=own.tokenizer or base.tokenizer,
        template=own.template or base.template,
    )


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that a model is loaded from; none where not all of them are here."""
    index = _read(folder / "model.safetensors.index.json")
    if (folder / "adapter_config.json").is_file():
        names = ["adapter_model.safetensors"]
    elif isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
        names = sorted(set(index["weight_map"].values()))
    elif (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    files = [folder / name for name in names]
    return files if all(path.is_file() for path in files) else []


def _tokenizer(folder: Path) -> str:
    found = {}
    # With a tokenizer.json the others are not read, which may come into the hub's cache later.
    fast = (folder / "tokenizer.json").is_file()
    for name in _FAST_TOKENIZER_FILES if fast else _TOKENIZER_FILES:
        if (path := folder / name).is_file():
            # tokenizer_config.json, which may hold the template, by its content; others by bytes.
            config = name == "tokenizer_config.json"
            found[name] = _read(path) if config else hashlib.sha256(path.read_bytes()).hexdigest()
    return digest(found)[:16] if found else ""


def _template(folder: Path) -> str:
    """Return the hash of the chat templates, wherever a version of Transformers puts them."""
    config = _read(folder / "tokenizer_config.json", whole=True)
    found: dict[str, Any] = {}
    if isinstance(config, dict):
        found[""] = config.get("chat_template")
    for path in sorted([*folder.glob("chat_template*.j*"), *folder.glob("*templates/*.jinja")]):
        found[path.name] = _text(path)
    if not any(found.values()):
        return "none" if _tokenizer(folder) else ""
    return digest(found)[:16]


def _read(path: Path, *, whole: bool = False) -> Any:
    """Return the content of a small file: JSON without volatile keys, other text, or None."""
    if not path.is_file():
        return None
    text = _text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict) and not whole:
        return {key: each for key, each in value.items() if key not in _VOLATILE}
    return value


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""
