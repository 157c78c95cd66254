"""Which field of a saved row holds what: known layouts, usual names, or given names."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mathtune.errors import ConfigError, DataError, did_you_mean
from mathtune.evaluation.predictions.rows import FIELDS


class Layout(enum.Enum):
    """Kind of file."""

    PREDICTIONS = "mathtune predictions"
    LM_EVAL = "lm-evaluation-harness samples"
    PLAIN = "questions and completions"


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field holds what, as ``name`` or ``outer.inner``; None if no field holds it.

    Attributes:
        completion: The model's text, or a list of texts.
        answer: The gold solution, or just the final answer.
        gold: The final answer; without it, it is taken from ``answer``.
        question: What was asked.
        stop_reason: How generation ended; ``length`` is the token limit.
        id: The problem's name.
    """

    completion: str | None = None
    answer: str | None = None
    gold: str | None = None
    question: str | None = None
    stop_reason: str | None = None
    id: str | None = None

    def named(self) -> dict[str, str]:
        """Return the fields that there are."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: path for name, path in found.items() if path is not None}


_USUAL: Mapping[str, tuple[str, ...]] = {
    "completion": (
        *("completion", "completions", "response", "responses", "generated_text", "generation"),
        *("generations", "model_output", "model_answer", "model_response", "output", "outputs"),
        *("prediction", "predictions", "pred"),
    ),
    "answer": (
        *("answer", "solution", "reference", "reference_answer", "reference_solution"),
        *("ground_truth", "target", "label"),
    ),
    "gold": ("gold", "final_answer", "gold_answer", "expected_answer", "correct_answer", "gt"),
    "question": ("question", "problem", "query", "instruction", "prompt", "input"),
    "stop_reason": ("stop_reason", "finish_reason"),
    "id": ("problem_id", "question_id", "unique_id", "doc_id", "id", "idx", "index"),
}
"""Names to look for, best first, where none is given."""

LOOKED_AT = 1000
"""Rows at the start of a file from which its fields are recognised."""


class NoGolds(DataError):
    """A file of outputs has no field with gold answers; another one may have them."""


def recognise(
    path: Path, found: list[dict[str, Any]], given: Fields, without_golds: bool = False
) -> tuple[Layout, Fields]:
    """Return the layout of a file and its fields, from its first rows.

    Args:
        path: The file.
        found: Its rows.
        given: Fields named by the caller.
        without_golds: The file needs no gold answers of its own.

    Raises:
        NoGolds: Gold answers cannot be identified.
        DataError: Completions cannot be identified.
        ConfigError: A given field is in no row.
    """
    if not found:
        raise DataError(f"{path} holds no JSON object; give a file with one per line")
    known = list(found[0])
    for name, where in given.named().items():
        if not any(look_up(row, where) is not None for row in found):
            raise ConfigError(
                f"no row of {path} has a field {where!r} for the {name.replace('_', ' ')}"
                f"{did_you_mean(where, known)}; the first row has {', '.join(known)}"
            )
    layout, guessed = _guess(found[:LOOKED_AT], given)
    chosen = replace(guessed, **given.named())
    names = ", ".join(known) or "none"
    if not chosen.completion:
        raise DataError(
            f"{path}: which field holds the model answers? The first row has {names}; name it with "
            "--completion"
        )
    if not (chosen.answer or chosen.gold or without_golds):
        raise NoGolds(
            f"{path}: which field holds the gold answers? The first row has {names}; name it with "
            "--answer or --gold"
        )
    return layout, chosen


def _guess(sample: Sequence[dict[str, Any]], given: Fields) -> tuple[Layout, Fields]:
    if not given.named() and any(FIELDS.keys() <= row.keys() for row in sample):
        own = Fields("completion", "answer", "gold", "question", "stop_reason", "problem_id")
        return Layout.PREDICTIONS, own
    docs = [row["doc"] for row in sample if "resps" in row and isinstance(row.get("doc"), dict)]
    if docs:
        inner = [{f"doc.{name}": value for name, value in doc.items()} for doc in docs]
        answer = _first(inner, "answer", given, "doc.") or "target"
        question = _first(inner, "question", given, "doc.")
        gold = None
        if answer == "doc.answer" and "doc.solution" in inner[0]:  # MATH has both
            answer, gold = "doc.solution", answer
        return Layout.LM_EVAL, Fields("resps", answer, gold, question, id="doc_id")
    return Layout.PLAIN, Fields(**{name: _first(sample, name, given) for name in _USUAL})


def _first(
    sample: Sequence[Mapping[str, Any]], name: str, given: Fields, prefix: str = ""
) -> str | None:
    """Return the first usual name for a field under which some row has a fitting value.

    A field given for something else is skipped: the model's own text, named
    ``answer``, must not be taken for the gold answer.
    """
    taken = given.named().values()

    def fits(value: Any) -> bool:
        listed = name in ("completion", "stop_reason") and isinstance(value, list)
        return listed or as_text(value) is not None

    names = [prefix + usual for usual in _USUAL[name] if prefix + usual not in taken]
    return next((n for n in names if any(fits(row.get(n)) for row in sample)), None)


def look_up(row: Any, where: str | None) -> Any:
    """Return the value at ``outer.inner`` or ``list.0``; None if there is none."""
    if where is None:
        return None
    if isinstance(row, dict):
        if where in row:
            return row[where]
        head, _, rest = where.partition(".")
        return look_up(row.get(head), rest) if rest else None
    if isinstance(row, list):
        head, _, rest = where.partition(".")
        if head.isdecimal() and int(head) < len(row):
            return look_up(row[int(head)], rest) if rest else row[int(head)]
    return None


def as_text(value: Any) -> str | None:
    """Return a text or a number as text, whole numbers without decimals; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None
