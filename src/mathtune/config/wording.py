"""What pydantic finds wrong with a recipe, as sentences with the key, the value and the remedy."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mathtune.config.schema import Recipe, SourceConfig, TestSetConfig
from mathtune.errors import did_you_mean

SEPARATOR = "\x1e"
"""Separates the faults of one validator, which pydantic treats as one message."""

_LONGEST = 60
"""At most this many characters of a value are shown."""

_FEW = 12
"""At most this many known keys are listed in a sentence."""

_WRONG = {
    "int": "is not a whole number; give one, as in {key}={example}",
    "float": "is not a number; give one, as in {key}={example}",
    "finite": "is not a finite number; give one, as in {key}={example}",
    "bool": "is neither true nor false; give one of them",
    "string": 'is not a string; put it in quotes, as in {key}: "{text}"',
    "list": "is not a list; put it in brackets, as in {key}: [{value}]",
    "dict": "is not a section with keys; set its keys one by one",
    "model": "is not a section with keys; set its keys one by one, as in {key}.{first}=…",
    "too": "is an empty list; name at least one, as in {key}: [gsm8k]",
    "greater": "is too small; give a number {bound}",
    "less": "is too large; give a number {bound}",
}
"""Sentence by the first word of pydantic's error type."""

_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def sentences(error: ValidationError) -> list[str]:
    """Return one sentence per fault."""
    # Each type of a union reports the same key; the first is enough.
    by_key = {".".join(key_parts(item["loc"])): dict(item) for item in reversed(error.errors())}
    return [text for item in reversed(by_key.values()) for text in _sentences(item)]


def key_parts(location: Sequence[int | str]) -> list[str]:
    """Return a pydantic location as parts of a dotted key, without names of types in between."""
    return [str(part) for part in location if not _names_a_type(str(part))]


def leaves(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield dotted key and field of every knob, in the order of the schema; sources are knobs."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is None or section in (SourceConfig, TestSetConfig):
            yield f"{prefix}{name}", field
        else:
            yield from leaves(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class in an annotation such as ``AdapterConfig | None``, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (section_of(part) for part in typing.get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _sentences(error: Mapping[str, Any]) -> Iterator[str]:
    parts = key_parts(error["loc"])
    key = ".".join(parts)
    kind = str(error["type"])
    if kind in ("extra_forbidden", "invalid_key"):
        yield _unknown_key(parts)
    elif kind == "missing":
        yield f"{key} is missing; {_needed(parts)}"
    elif kind == "value_error":
        message = str(error["msg"]).removeprefix("Value error, ")
        yield from (f"{key} {part}" if key else part for part in message.split(SEPARATOR))
    elif error["input"] is None:
        yield f"{key} is empty; {_needed(parts)}"
    else:
        yield f"{key}={_shown(error['input'])} {_what_is_wrong(error, parts)}"


def _what_is_wrong(error: Mapping[str, Any], parts: Sequence[str]) -> str:
    kind, context = str(error["type"]), error.get("ctx", {})
    if parts[-1] == "model" and kind == "model_type":
        return f"is not a model; {_needed(parts)}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"is unknown; give {_or(known)}{did_you_mean(str(error['input']), known)}"
    wording = _WRONG.get(kind.partition("_")[0])
    if wording is None:
        message = str(error["msg"])
        return f"does not fit: {message[0].lower()}{message[1:]}; see mathtune recipes --knobs"
    field, section = _field(parts), _section(parts)
    default = field.default if field is not None else None
    typical = isinstance(default, (int, float)) and default > 0
    bound = next((f"{word} {context[k]:.15g}" for k, word in _BOUNDS.items() if k in context), "")
    return wording.format(
        key=".".join(parts),
        value=_shown(error["input"]),
        text=str(error["input"])[:_LONGEST],
        example=default if typical else 100 if kind.startswith("int") else 1,
        first=next(iter(section.model_fields)) if section else "key",
        bound=bound,
    )


def _unknown_key(parts: Sequence[str]) -> str:
    *parents, last = parts
    key, here = ".".join(parts), list((_section(parents) or Recipe).model_fields)
    elsewhere = [knob for knob, _ in leaves() if knob.rpartition(".")[2] == last]
    if hint := did_you_mean(last, here):
        return f"unknown key {key}{hint}"
    if elsewhere:
        return f"unknown key {key}; did you mean {elsewhere[0]!r}?"
    if len(here) > _FEW:
        return f"unknown key {key}; mathtune recipes --knobs lists all keys"
    return f"unknown key {key}; the keys here are {', '.join(here)}"


def _needed(parts: Sequence[str]) -> str:
    """Return what belongs at a place that is empty."""
    if parts[-1] == "model":
        return "give a saved model's folder, a hub id such as google/gemma-2b, or tiny-base"
    field, section = _field(parts), _section(parts)
    if section is not None and not (field and field.description):
        required = [name for name, field in section.model_fields.items() if field.is_required()]
        keys = f"its keys {' and '.join(required)}" if required else "a key of its own"
        return f"give {keys}, or leave it out"
    what = " ".join(((field and field.description) or "").split()).rstrip(".")
    return f"give it a value ({what})" if what else "give it a value or leave it out"


def _field(parts: Sequence[str]) -> FieldInfo | None:
    section = _section(parts[:-1])
    return section.model_fields.get(parts[-1]) if section else None


def _section(parts: Sequence[str]) -> type[BaseModel] | None:
    """Return the class of the section at a place; None if the place is not a section."""
    section: type[BaseModel] = Recipe
    for part in parts:
        if part.isdecimal():
            continue
        field = section.model_fields.get(part)
        inner = section_of(field.annotation) if field else None
        if inner is None:
            return None
        section = inner
    return section


def _names_a_type(part: str) -> bool:
    return "[" in part or part in ("str", "SourceConfig", "AdapterConfig")


def _shown(value: Any) -> str:
    text = repr(value if isinstance(value, (str, int, float, list, dict)) else str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
