"""Which recipes are the same experiment: what a run folder's name and resuming depend on.

A knob that the schema marks with ``SAME_RESULT`` changes how the work is done, not its result: a
run can be continued with another value. Knobs at their defaults are left out of the name, so that a
new knob in a later version does not change folder names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mathtune.config.schema import SAME_RESULT, Recipe
from mathtune.config.wording import leaves

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Change:
    """A knob that differs between two recipes.

    Attributes:
        key: Dotted.
        before: Its value in the first, for JSON.
        after: Its value in the second.
        same_result: Whether it changes only rounding and which units dropout drops.
    """

    key: str
    before: Any
    after: Any
    same_result: bool

    @property
    def before_in_words(self) -> str:
        """``before`` as short text."""
        return in_words(self.before)

    @property
    def after_in_words(self) -> str:
        """``after`` as short text."""
        return in_words(self.after)


def keys_of_same_result() -> set[str]:
    """Return the dotted keys of the knobs that change only how the work is done."""
    return {key for key, field in leaves() if field.exclude or SAME_RESULT in field.metadata}


def identity(recipe: Recipe) -> str:
    """Return a text that is the same for the same experiment and differs for any other."""
    given = recipe.model_dump(mode="json", exclude_defaults=True)
    free = keys_of_same_result()
    own = {key: value for key, value in _flat(given) if key not in free}
    return json.dumps(own, sort_keys=True)


def stage_knobs(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Return the knobs that the output of a stage depends on, dotted key → value.

    Where data and models come from is not among them: those are identified by content.

    Args:
        recipe: The recipe.
        stage: ``train``, or ``base`` or ``tuned`` for measuring.
    """
    values = recipe.model_dump(mode="json")
    free = keys_of_same_result()
    if recipe.eval.engine != "openai":  # only the name of a server's model is known
        free |= {"model.name_or_path", "model.revision"}
        free |= {"gkd.teacher_model_name_or_path", "gkd.teacher_revision"}
    wanted: tuple[str, ...] = ("model.", "prompt.", "eval.")
    if stage == "train":
        wanted = ("seed", "model.", "adapter", "prompt.style", "prompt.system", "train.")
        if recipe.train.objective != "sft":
            wanted += (f"{recipe.train.objective}.",)
        if recipe.train.exact_match_samples:
            wanted += ("eval.max_new_tokens", "eval.stop", "eval.calculator")
            wanted += ("eval.stop_repetition",)
    elif recipe.eval.temperature:
        wanted += ("seed",)
    knobs = {k: v for k, v in _flat(values) if k.startswith(wanted) and k not in free}
    if stage == "train":
        knobs["adapter"] = None if recipe.adapter is None else "LoRA"
    return knobs


def changes(before: Recipe, after: Recipe) -> list[Change]:
    """Return the knobs in which two recipes differ, in the order of the schema."""
    old, new = (each.model_dump(mode="json") for each in (before, after))
    pairs: list[tuple[str, Any, Any]] = []
    if (before.adapter is None) != (after.adapter is None):
        pairs.append(("adapter", old.pop("adapter"), new.pop("adapter")))
    old, new = dict(_flat(old)), dict(_flat(new))
    pairs += [(key, value, new[key]) for key, value in old.items()]
    free = keys_of_same_result()
    return [
        Change(key, one, other, same_result=key in free)
        for key, one, other in pairs
        if one != other
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys down to the knobs; a knob's own value is not split."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and not prefix:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def in_words(value: Any) -> str:
    """Return a knob's value as short text."""
    if value is None:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
