"""A model's files before it is loaded: are they all there, and what does its configuration say?

Torch is not needed, so that a wrong path or a context that is too short costs no seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mathtune import hub
from mathtune.errors import ModelError, did_you_mean

TINY_BASE = "tiny-base"

REMEDY = f"give a saved model's folder, a hub id such as google/gemma-2b, or {TINY_BASE}"

_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")
_HEADER_LIMIT = 100 * 2**20  # the longest header that safetensors itself reads


def resolve(name: str) -> str:
    """Return the folder of ``tiny-base`` or of ``~/…``; anything else unchanged."""
    if name == TINY_BASE:
        return str(resources.files("mathtune.recipes").joinpath(TINY_BASE))
    return str(Path(name).expanduser()) if name.startswith("~") else name


def read_config(
    name: str,
    revision: str | None = None,
    *,
    cached_only: bool = False,
    weights: bool = True,
) -> Mapping[str, Any] | None:
    """Return ``config.json`` of a model, of an adapter's base for an adapter.

    Args:
        name: Folder or hub id.
        revision: Branch, tag or commit on the hub.
        cached_only: Ask no network, only the hub's cache.
        weights: A folder must hold all that a model is loaded from, not only config.json.

    Returns:
        The configuration; None where ``cached_only`` and it is not cached.

    Raises:
        ModelError: There is no such model, or its folder lacks what a model needs.
    """
    check_is_there(name)
    folder = Path(resolve(name))
    if folder.is_dir():
        base = _base_of_adapter(folder)
        if base is None:
            if weights or not (folder / "config.json").is_file():
                _check_complete(name, folder)
            return read_json(folder / "config.json")
        try:
            return read_config(*base, cached_only=cached_only, weights=weights)
        except ModelError as error:
            raise ModelError(f"adapter {name!r} has no base to stand on: {error}") from error
    path = hub.model_file(name, "config.json", revision, cached_only=cached_only)
    if path is not None:
        return read_json(path)
    path = hub.model_file(name, "adapter_config.json", revision, cached_only=cached_only)
    if path is not None:
        return read_config(*_base_in(path), cached_only=cached_only, weights=weights)
    if cached_only:
        return None
    raise ModelError(
        f"{name!r} on the hub has neither config.json nor adapter_config.json, so it is no model "
        "for Transformers; give another id"
    )


def is_adapter(name: str, revision: str | None = None, *, cached_only: bool = False) -> bool:
    """Return whether a folder or hub id holds a LoRA adapter in place of a whole model.

    Args:
        name: Folder or hub id.
        revision: Branch, tag or commit on the hub.
        cached_only: Ask no network; what is not in the hub's cache counts as a whole model.

    Raises:
        ModelError: There is no such model.
    """
    check_is_there(name)
    folder = Path(resolve(name))
    if folder.is_dir():
        return (folder / "adapter_config.json").is_file()
    if hub.model_file(name, "config.json", revision, cached_only=cached_only) is not None:
        return False
    adapter = hub.model_file(name, "adapter_config.json", revision, cached_only=cached_only)
    return adapter is not None


def find_adapter(source: Path) -> tuple[Path, Path | None]:
    """Return an adapter's folder and the recipe of the run that it comes from, if any.

    Args:
        source: An adapter, or a run folder.

    Raises:
        ModelError: There is no adapter.
    """
    run = source if (source / "recipe.yaml").is_file() else source.absolute().parent
    adapter = source / "model" if run == source else source
    if not source.exists():
        near = [each.name for each in source.absolute().parent.glob("*") if each.is_dir()]
        hint = did_you_mean(source.name, near) or "; give the folder of an adapter or of a run"
        raise ModelError(f"{source} does not exist{hint}")
    if run == source and not adapter.is_dir():
        raise ModelError(f"run folder {source} has no model/ yet; finish its training first")
    if (adapter / "config.json").is_file():
        raise ModelError(f"{adapter} is a whole model already; use it as it is")
    if not is_adapter(str(adapter)):
        raise ModelError(
            f"{adapter} is no adapter, as it holds no adapter_config.json; give the folder of an "
            "adapter or of a run"
        )
    _base_of_adapter(adapter)  # its weights are there
    recipe = run / "recipe.yaml"
    return adapter, recipe if recipe.is_file() and adapter.name == "model" else None


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return how many positions a model was made for, where its configuration says so."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in _CONTEXT_KEYS:
            if isinstance(part.get(key), int):
                return int(part[key])
    return None


def parameter_count(name: str) -> int | None:
    """Return how many numbers a model folder's weights hold; None where they are not here."""
    folder = Path(resolve(name))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return sum(map(_numbers_in, files)) if files else None


def _numbers_in(path: Path) -> int:
    """Add up the shapes in the header of a safetensors file.

    Raises:
        ModelError: If it is no such file, or not all of it is there.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _HEADER_LIMIT)))
        header.pop("__metadata__", None)
        whole = 8 + length + max((t["data_offsets"][1] for t in header.values()), default=0)
        size = path.stat().st_size
        numbers: int = sum(math.prod(tensor["shape"]) for tensor in header.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is no safetensors file; save or download the model again"
        ) from error
    if size < whole:
        raise ModelError(
            f"{path} has {size:,} of its {whole:,} bytes; save or download the model again"
        )
    return numbers


def _base_of_adapter(folder: Path) -> tuple[str, str | None] | None:
    path = folder / "adapter_config.json"
    if not path.is_file():
        return None
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"adapter folder {str(folder)!r} holds no adapter_model.safetensors; train or save it "
            "again"
        )
    return _base_in(path)


def _base_in(path: Path) -> tuple[str, str | None]:
    """Return the model that an ``adapter_config.json`` names, and its revision."""
    adapter = read_json(path)
    base = adapter.get("base_model_name_or_path")
    if not isinstance(base, str):
        raise ModelError(
            f"{path} has no base_model_name_or_path; add the model that it was trained on"
        )
    return base, adapter.get("revision")


def _check_complete(name: str, folder: Path) -> None:
    """Raise ModelError, naming all that is missing, if a folder cannot be loaded from."""
    if (folder / "recipe.yaml").is_file() and not (folder / "config.json").is_file():
        raise ModelError(f"model {name!r} is a run folder; give the model in it, {folder}/model")
    missing = []
    if not (folder / "config.json").is_file():
        missing.append("config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = next(folder.glob("*.bin"), None)
        only = f" (only {pickled.name}, which can run code when it is opened)" if pickled else ""
        missing.append(f"*.safetensors{only}")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(read_json(index).get("weight_map", {}).values())
        missing += sorted(part for part in parts if not (folder / part).is_file())
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        missing.append("tokenizer.json")
    for weights in folder.glob("*.safetensors"):
        _numbers_in(weights)  # raises where a download or a copy was cut off
    if missing:
        raise ModelError(
            f"model folder {name!r} holds no {' and no '.join(missing)}; give a folder written by "
            "save_pretrained of both the model and its tokenizer"
        )


def check_is_there(name: str) -> None:
    """Tell a missing folder from a hub id before any network is tried.

    Raises:
        ModelError: It is neither a folder nor written like a hub id.
    """
    if not name.strip():
        raise ModelError(f"the model's name is empty; {REMEDY}")
    path = Path(resolve(name))
    if path.is_dir():
        return
    if name == TINY_BASE:
        raise ModelError(f"{TINY_BASE} is missing from the package ({path}); install it again")
    if path.exists():
        raise ModelError(f"model {name!r} is a file; give the folder that holds the saved model")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        near = [each.name for each in path.parent.glob("*") if each.is_dir()]
        raise ModelError(
            f"model folder {name!r} does not exist{did_you_mean(path.name, near) or f'; {REMEDY}'}"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelError(
            f"model {name!r} is neither a folder here nor a hub id of the form owner/name"
            f"{did_you_mean(name, [TINY_BASE]) or f'; {REMEDY}'}"
        )


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelError: If it cannot be read or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); save the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object; save the model again")
    return value
