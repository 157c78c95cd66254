"""A model's files before it is loaded: are they complete, and what is in its configuration?

Works without torch, so that a wrong path or a too short context is reported at once.
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
from mathtune.models import fetch, gguf
from mathtune.models.checks import weight_files
from mathtune.run_paths import RunPaths

TINY_BASE = "tiny-base"

REMEDY = f"give a saved model's folder, a hub id such as google/gemma-2b, or {TINY_BASE}"

_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_HUB_ID = r"[\w.-]+/[\w.-]+"
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")


def resolve(name: str) -> str:
    """Return the folder of ``tiny-base``, a fetched model, a GGUF file or ``~``; else ``name``."""
    if name == TINY_BASE:
        return str(resources.files("mathtune.recipes").joinpath(TINY_BASE))
    if fetch.is_fetched(name):
        return str(fetch.folder_of(name))
    if name.endswith(gguf.ENDING):
        return str(gguf.converted(Path(name).expanduser()))
    return str(Path(name).expanduser()) if name.startswith("~") else name


def local_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model's files; for a hub id, a commit's folder in the cache.

    The network is not used; None if they are not on this machine.
    """
    folder = Path(resolve(name))
    if folder.is_dir():
        return folder
    if name == TINY_BASE or not re.fullmatch(_HUB_ID, name):
        return None
    for file in ("config.json", "adapter_config.json"):
        if path := hub.model_file(name, file, revision, cached_only=True):
            return path.parent
    return None


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
        cached_only: Use only the hub's cache, not the network.
        weights: Require all files that a model is loaded from, not only config.json.

    Returns:
        The configuration; None where ``cached_only`` and it is not cached.

    Raises:
        ModelError: There is no such model, or its folder lacks what a model needs.
    """
    check_is_there(name)
    folder = Path(resolve(name))
    if folder.is_dir():
        base = base_of_adapter(folder)
        if base is None:
            if weights or not (folder / "config.json").is_file():
                _check_complete(name, folder)
            return read_json(folder / "config.json")
        try:
            return read_config(*base, cached_only=cached_only, weights=weights)
        except ModelError as error:
            raise ModelError(f"the base of adapter {name!r} cannot be used: {error}") from error
    path = hub.model_file(name, "config.json", revision, cached_only=cached_only)
    if path is not None:
        return read_json(path)
    path = hub.model_file(name, "adapter_config.json", revision, cached_only=cached_only)
    if path is not None:
        base = _base_in(path)
        if is_adapter(*base, cached_only=cached_only):
            raise _adapter_on_adapter(path, base[0])
        return read_config(*base, cached_only=cached_only, weights=weights)
    if cached_only:
        return None
    raise ModelError(
        f"{name!r} on the hub has neither config.json nor adapter_config.json, so it is "
        "not a Transformers model; give another id"
    )


def is_adapter(name: str, revision: str | None = None, *, cached_only: bool = False) -> bool:
    """Return whether a folder or hub id holds a LoRA adapter rather than a full model.

    Args:
        name: Folder or hub id.
        revision: Branch, tag or commit on the hub.
        cached_only: Do not use the network; what is not in the hub's cache counts as a full model.

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


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return how many positions a model was made for, if its configuration states it."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in _CONTEXT_KEYS:
            if isinstance(part.get(key), int):
                return int(part[key])
    return None


def parameter_count(name: str) -> int | None:
    """Return the number of weights in a model folder; None if they are not here."""
    folder = Path(resolve(name))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    headers = [weight_files.read_header(file) for file in files]
    shapes = [tensor["shape"] for header in headers for tensor in header.values()]
    return sum(map(math.prod, shapes)) if files else None


def describe(name: str) -> str:
    """Return a model's name with its size and base, for a line before it is loaded."""
    folder = Path(resolve(name))
    count = parameter_count(name)
    if not folder.is_dir() or count is None:
        return name
    words = f"{name} ({count:,} parameters"
    if (base := base_of_adapter(folder)) is not None:
        words += f", an adapter on {base[0]}"
    return words + ")"


def base_of_adapter(folder: Path) -> tuple[str, str | None] | None:
    """Return the base and revision that an adapter's folder names; None for a full model.

    Raises:
        ModelError: It is not a LoRA adapter, lacks its weights or its base, or they are damaged.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        return None
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise ModelError(
                f"adapter folder {str(folder)!r} holds no adapter_model.safetensors, only "
                f"adapter_model.bin, {weight_files.PICKLED}"
            )
        raise ModelError(
            f"adapter folder {str(folder)!r} holds no adapter_model.safetensors; train or save it "
            "again"
        )
    weight_files.read_header(weights)
    return _base_in(path)


def _base_in(path: Path) -> tuple[str, str | None]:
    """Return the model that an ``adapter_config.json`` names, and its revision."""
    adapter = read_json(path)
    if (kind := adapter.get("peft_type")) not in (None, "LORA"):
        raise ModelError(
            f"{path} is of an adapter of type {kind}, and only LoRA adapters (rsLoRA, DoRA and "
            "PiSSA are some) are loaded; merge it into its base with PEFT and give the merged model"
        )
    base, revision = adapter.get("base_model_name_or_path"), adapter.get("revision")
    if not isinstance(base, str) or not isinstance(revision, str | None):
        raise ModelError(
            f"{path} has no base_model_name_or_path; add the model that it was trained on"
        )
    if (Path(resolve(base)) / "adapter_config.json").is_file():
        raise _adapter_on_adapter(path, base)
    return base, revision


def _adapter_on_adapter(path: Path, base: str) -> ModelError:
    return ModelError(
        f"{path} names {base!r} as its base, which is itself an adapter; merge that one into its "
        "base first (mathtune merge) and name the folder that it writes"
    )


def _check_complete(name: str, folder: Path) -> None:
    """Raise ModelError, naming all that is missing, if a folder cannot be loaded."""
    if RunPaths(folder).recipe.is_file() and not (folder / "config.json").is_file():
        raise ModelError(f"model {name!r} is a run folder; give the model in it, {folder}/model")
    missing, faults = [], []
    if not (folder / "config.json").is_file():
        missing.append("config.json")
    index = folder / weight_files.INDEX
    if not any(folder.glob("*.safetensors")):
        pickled = next(folder.glob("*.bin"), None)
        missing.append(
            "*.safetensors" + (f" (only {pickled.name}, {weight_files.PICKLED})" if pickled else "")
        )
    elif not index.is_file() and not (folder / weight_files.WEIGHTS).is_file():
        missing.append(f"{weight_files.WEIGHTS} or {weight_files.INDEX}")
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        missing.append("tokenizer.json")
    if missing:
        faults.append(
            f"model folder {name!r} holds no {' and no '.join(missing)}; give a folder written by "
            "save_pretrained of both the model and its tokenizer"
        )
    for weights in sorted(folder.glob("*.safetensors")):
        try:
            weight_files.read_header(weights)
        except ModelError as error:
            faults += error.faults
    if index.is_file() and not faults:
        faults += weight_files.index_faults(folder, read_json(index).get("weight_map"))
    if faults:
        raise ModelError(faults)


def check_is_there(name: str) -> None:
    """Tell a missing folder from a hub id before any network is tried.

    Raises:
        ModelError: It is neither a folder nor of the form of a hub id.
    """
    if not name.strip():
        raise ModelError(f"the model's name is empty; {REMEDY}")
    path = Path(resolve(name))
    if path.is_dir():
        return
    if name in fetch.MODELS:
        raise ModelError(f"model {name!r} is not here yet; run mathtune models fetch {name}")
    if name == TINY_BASE:
        raise ModelError(f"{TINY_BASE} is missing from the package ({path}); install it again")
    if path.exists():
        raise ModelError(f"model {name!r} is a file; give the folder that holds the saved model")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        near = [each.name for each in path.parent.glob("*") if each.is_dir()]
        raise ModelError(
            f"model folder {name!r} does not exist{did_you_mean(path.name, near) or f'; {REMEDY}'}"
        )
    if not re.fullmatch(_HUB_ID, name):
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
        raise ModelError(f"{path} is not a JSON object; save the model again")
    return value
