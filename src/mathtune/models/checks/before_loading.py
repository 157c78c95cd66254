"""What is refused in a model's files before loading it, as far as that works without torch.

A ``config.json`` may name classes in Python files next to it (``auto_map``) and kernels on the hub,
and ``tokenizer_config.json`` a tokenizer class. None of it is imported without
``model.trust_remote_code``. ``auto_map`` is ignored for a model type that Transformers itself has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mathtune import hub
from mathtune.config.schema import Recipe
from mathtune.errors import ModelError
from mathtune.models.checks.weight_files import INDEX, PICKLED, WEIGHTS, tokenizer_fault
from mathtune.models.files import base_of_adapter, is_adapter, resolve
from mathtune.prompts import CHAT, ChatTemplate

ADAPTER_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "base.json",  # this and the next: only in adapters trained by mathtune
    "quantization.json",
)
UNTRUSTED = (
    "is not run by default; read that code and set model.trust_remote_code=true, or choose a model "
    "that Transformers knows"
)


def faults(recipe: Recipe, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each reason in its files not to load a recipe's model.

    Args:
        recipe: Names the model.
        config: Its ``config.json``.
    """
    name = recipe.model.name_or_path or ""
    if not recipe.model.trust_remote_code:
        yield from code_faults(name, config)
    folder = Path(resolve(name))
    if folder.is_dir():
        if fault := tokenizer_fault(name, folder, config):
            yield fault
        if recipe.prompt.style == CHAT and (folder / "tokenizer.json").is_file():
            yield from _template_faults(recipe, folder)


def _template_faults(recipe: Recipe, folder: Path) -> Iterator[str]:
    from transformers import PreTrainedTokenizerFast

    try:
        # Its own class may differ in ids, which templates do not use, and takes seconds to import.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception:  # loading it with its own class reports why
        return
    try:
        ChatTemplate(tokenizer, system=recipe.prompt.system)
    except ModelError as error:
        yield from error.faults


def code_faults(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each piece of code that a model's ``config.json`` requires.

    Args:
        name: The model.
        config: Its ``config.json``.
    """
    for key, kernel in sorted(set(_kernels(config))):
        yield (
            f"config.json of model {name!r} has {key}={kernel}, and a kernel on the hub is "
            "somebody's machine code; remove it there, or set model.trust_remote_code=true to run "
            "it"
        )
    kind = config.get("model_type")
    if config.get("auto_map") and not is_known(kind):
        yield (
            f"model {name!r} has the type {kind!r}, which Transformers does not know, and its "
            f"own code (auto_map in config.json) {UNTRUSTED}"
        )


def is_known(model_type: object) -> bool:
    """Return whether Transformers has code for a ``model_type``."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _kernels(config: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and name of hub kernels in a configuration and its nested ones."""
    for key, value in config.items():
        setting = within or (key if "_implementation" in key else "")
        if isinstance(value, dict):
            yield from _kernels(value, setting)
        elif setting and isinstance(value, str) and "/" in value:
            yield setting, value


def adapter_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of an adapter, downloaded if it is on the hub; None for a full model.

    Raises:
        ModelError: There is no such model, or the adapter has no safetensors.
    """
    folder = Path(resolve(name))
    if not folder.is_dir():
        if not is_adapter(name, revision):
            return None
        config, weights, *_ = _fetched(name, revision, *ADAPTER_FILES)
        if weights is None or config is None:
            raise ModelError(_lacking(name, ADAPTER_FILES[1]))
        folder = config.parent
    return folder if base_of_adapter(folder) is not None else None


def check_safetensors(name: str, revision: str | None = None) -> None:
    """Raise ModelError if a full model on the hub has no safetensors.

    Transformers would ask a hub service to convert it.
    """
    if not Path(resolve(name)).is_dir() and not any(_fetched(name, revision, INDEX, WEIGHTS)):
        raise ModelError(_lacking(name, WEIGHTS))


def _fetched(name: str, revision: str | None, *files: str) -> Iterator[Path | None]:
    """Yield the path of each file of a model on the hub, offline those in its cache."""
    cached_only = hub.why_unreachable() is not None
    for file in files:
        yield hub.model_file(name, file, revision, cached_only=cached_only)


def _lacking(name: str, file: str) -> str:
    if (why := hub.why_unreachable()) is not None:
        return hub.out_of_reach(name, why)
    return (
        f"model {name!r} on the hub holds no {file}; weights in another form there may be "
        f"{PICKLED}, and give its folder"
    )
