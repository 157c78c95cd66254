"""The rows of the problem table: both models' answers to one problem, paired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mathtune.records import PredictionRow
from mathtune.report import facts, wording
from mathtune.report.reading import RunFiles

MOST_ROWS = 20_000
"""Most rows in one page; about 1.5 KB each. What is left out is counted."""

_ANSWER_FIELDS = (
    "correct", "outcome", "extracted", "method", "reason", "error", "stop_reason", "tokens",
    "inserted_tokens", "completion",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """Rows ready for the page.

    Attributes:
        data: ``sets``, ``models``, ``graders``, ``endings``, ``problems`` and ``rows`` as plain
            JSON values. Each problem's texts appear once, however many settings it was answered in.
        left_out: Rows over ``MOST_ROWS``.
    """

    data: Mapping[str, Any]
    left_out: int

    def script(self) -> str:
        """Return the data as JSON that is inert inside a ``<script>`` element.

        ``<`` and ``>`` and ``&`` are written as escapes, so that neither ``</script`` nor ``<!--``
        can occur, whatever a model wrote.
        """
        text = json.dumps(self.data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text


def answer_table(run: RunFiles) -> AnswerTable | None:
    """Pair the answers by set, calculator setting, problem and sample; None if there are none."""
    models = [model for model in wording.MODELS if run.answers.get(model)]
    if not models:
        return None
    paired: dict[tuple[str, bool, str, int], dict[str, PredictionRow]] = {}
    for model in models:
        for row in run.answers[model]:
            paired.setdefault(_key(row), {})[model] = row
    first = facts.headline(run)
    start = (first.set, first.calculator) if first else next(iter(paired))[:2]
    # Python's sort is stable: within a setting the problems keep their order.
    order = sorted(paired, key=lambda key: key[:2] != start)
    shown = order[:MOST_ROWS]
    sets = list(dict.fromkeys(key[0] for key in shown))
    problems: dict[str, int] = {}
    texts: list[list[Any]] = []
    rows: list[dict[str, Any]] = []
    for key in shown:
        name, calculator, problem_id, sample = key
        if problem_id not in problems:
            problems[problem_id] = len(texts)
            row = next(iter(paired[key].values()))
            texts.append([*(_text(row.get(field)) for field in _PROBLEM_FIELDS), row.get("steps")])
        entry = {"problem": problems[problem_id], "set": sets.index(name), "sample": sample}
        answers = {model: _answer(row) for model, row in paired[key].items()}
        rows.append({**entry, "calculator": calculator, **answers})
    graders = list(
        dict.fromkeys(
            name
            for key in shown
            for row in paired[key].values()
            for name in row.get("published") or {}
        )
    )
    names = {name: wording.GRADERS.get(name, (name, ""))[0] for name in graders}
    data = {"sets": sets, "models": models, "graders": names, "problems": texts, "rows": rows}
    data["endings"] = dict(wording.ENDINGS)
    return AnswerTable(data, len(order) - len(shown) + run.unread)


_PROBLEM_FIELDS = ("question", "answer", "gold", "type")


def _key(row: PredictionRow) -> tuple[str, bool, str, int]:
    decoding = row.get("decoding")
    calculator = bool(decoding.get("calculator")) if isinstance(decoding, Mapping) else False
    sample = row.get("sample")
    number = sample if isinstance(sample, int) else 0
    return str(row.get("set", "")), calculator, str(row["problem_id"]), number


def _answer(row: PredictionRow) -> dict[str, Any]:
    answer = {name: row.get(name) for name in _ANSWER_FIELDS}
    return {
        **{name: value for name, value in answer.items() if _is_plain(value)},
        "correct": row.get("correct") is True,
        "published": {name: bool(flag) for name, flag in (row.get("published") or {}).items()},
    }


def _is_plain(value: Any) -> bool:
    """Leave out empty values, and NaN, which JSON cannot express."""
    return isinstance(value, str | bool) or wording.is_number(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
