"""The main knobs of a recipe as fields of a form, made from the schema."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Literal

from mathtune import config
from mathtune.config import as_override
from mathtune.config.wording import leaves

MAIN_KNOBS: Mapping[str, str] = {
    "model.name_or_path": "Model",
    "adapter.r": "LoRA rank",
    "adapter.lora_alpha": "LoRA alpha",
    "model.load_in_4bit": "Base in 4 bits",
    "train.learning_rate": "Learning rate",
    "train.num_train_epochs": "Epochs",
    "train.max_steps": "Max. steps (−1: by epochs)",
    "train.per_device_train_batch_size": "Batch size per device",
    "train.gradient_accumulation_steps": "Gradient accumulation",
    "train.max_length": "Longest example, tokens",
    "train.eval_steps": "Validate every … steps",
    "train.save_steps": "Save every … steps",
    "data.max_train_samples": "Training problems",
    "data.max_validation_samples": "Validation problems",
    "data.max_test_samples": "Test problems per set",
    "prompt.style": "Prompt style",
    "eval.calculator": "Calculator",
    "eval.max_new_tokens": "New tokens per answer",
    "seed": "Seed",
}
"""Knobs with a field of their own → its label; every other one can be written as KEY=VALUE."""

_EMPTY = {"data": "all", "adapter": "no adapter"}
"""Section → what its fields mean where a recipe gives no value."""


def fields_of(recipe: str) -> list[dict[str, Any]]:
    """Return the fields with a recipe's values, texts and choices.

    A knob of a section that the recipe leaves out (``adapter`` where all weights are trained) has
    no value.

    Raises:
        ConfigError: There is no such recipe, or it is not one.
    """
    loaded, known = config.load_draft(recipe).recipe, dict(leaves())
    found = []
    for key, label in MAIN_KNOBS.items():
        if key not in known:
            continue
        kinds = kinds_of(known[key].annotation)
        value: Any = loaded
        for part in key.split("."):
            value = getattr(value, part, None)
        choices = [str(kind) for kind in kinds if isinstance(kind, str)]
        found.append(
            {
                "key": key,
                "label": label,
                "help": " ".join((known[key].description or "").replace("``", "").split()),
                "value": _written(value),
                "empty": _EMPTY.get(key.partition(".")[0], ""),
                "choices": ["true", "false"]
                if bool in kinds
                else choices
                if str not in kinds
                else [],
                "number": not choices and str not in kinds and bool not in kinds,
            }
        )
    return found


def overrides_of(values: Mapping[str, str]) -> list[str]:
    """Return fields that were changed as overrides; empty ones are left as the recipe has them."""
    known = dict(leaves())
    found = []
    for key, value in values.items():
        text = value.strip()
        if key in known and text:
            kinds = kinds_of(known[key].annotation)
            is_text = any(kind is str or isinstance(kind, str) for kind in kinds)
            plain = (
                text.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum()
            )
            quoted = is_text and not (plain and not text[0].isdigit())
            found.append(as_override(key, text) if quoted else f"{key}={text}")
    return found


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    """Return the plain types in an annotation, and a Literal's values."""
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    parts = typing.get_args(annotation)
    return tuple(kind for part in parts for kind in kinds_of(part)) if parts else (annotation,)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
