"""Numbers and names as a reader of the report sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

NBSP = "\u00a0"
MISSING = "—"
_MINUS = re.compile(r"(?<=[ (])-(?=\d)")

MODELS = ("base", "tuned")
"""The two models of a run, in the order in which they are shown."""

GRADERS: Mapping[str, tuple[str, str]] = {
    "mathtune": ("mathtune", "exact numbers, any common way of giving the answer"),
    "openai": ("OpenAI", "first “#### number”, compared as text"),
    "lm_eval_strict": ("lm-eval gsm8k, strict", "first “#### number”"),
    "lm_eval_flexible": ("lm-eval gsm8k, flexible", "last number of the text"),
    "lm_eval_cot_strict": ("lm-eval gsm8k_cot, strict", "first “The answer is number.”"),
}
"""Grader name in the files → name and rule for a reader."""

OUTCOMES: Mapping[str, str] = {
    "correct": "correct",
    "wrong": "wrong answer",
    "no_answer": "no answer found",
    "truncated": "cut off before an answer",
    "ungradable": "could not be graded",
}

ERRORS: Mapping[str, str] = {
    "arithmetic_slip": "arithmetic slip: a stated equation is false",
    "reasoning": "reasoning: every stated equation holds, the answer is wrong",
    "format": "format: no answer that could be read",
}

SOLVED: Mapping[str, str] = {
    "never": "never solved",
    "sometimes": "sometimes solved",
    "always": "always solved",
}
"""The pass-rate map of an evaluation with several samples per problem."""

METHODS: Mapping[str, str] = {
    "answer_tag": "<answer>…</answer>",
    "boxed": "\\boxed{…}",
    "hash": "#### …",
    "answer_is": "“the answer is …”",
    "last_number": "last number of the text",
    "symbolic": "symbolic comparison",
    "none": "nowhere",
}

STOP_REASONS: Mapping[str, str] = {
    "eos": "end of text",
    "stop_string": "stop string",
    "length": "token limit",
    "repetition": "repetition",
}
"""Why texts ended, as the labels of a count."""

ENDINGS: Mapping[str, str] = {
    "eos": "ended on its own",
    "stop_string": "ended at a stop string",
    "length": "cut off at the token limit",
    "repetition": "stopped, as it repeated itself",
}
"""The same about one text."""


def ending(stop_reason: object) -> str:
    """Return how one text ended; an unknown reason as it is, and nothing for none."""
    reason = "" if stop_reason is None else str(stop_reason)
    return ENDINGS.get(reason, reason and f"ended: {reason}")


def typeset(sentence: str) -> str:
    """Give a sentence of a file or terminal minus signs, and a percent sign that stays with it."""
    return _MINUS.sub("−", sentence).replace(" %", f"{NBSP}%")


def is_number(value: Any) -> TypeGuard[float]:
    """True for a finite int or float (not a bool)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 2) -> str:
    """Return ``1234.5`` as ``1,234.50``, with a true minus sign; ``—`` if it is not a number."""
    if not is_number(value):
        return MISSING
    return f"{value:,.{digits}f}".replace("-", "−")


def count(value: Any) -> str:
    """Return ``9805824`` as ``9,805,824``."""
    return number(value, 0)


def significant(value: Any, digits: int = 4) -> str:
    """Return a number with that many significant digits: ``0.0002``, ``2.518``, ``1.23e+07``."""
    return f"{value:.{digits}g}".replace("-", "−") if is_number(value) else MISSING


def percent(value: Any, digits: int = 1) -> str:
    """Return a share such as ``0.8`` as ``80.0 %``."""
    return f"{number(100 * value, digits)}{NBSP}%" if is_number(value) else MISSING


def points(value: Any) -> str:
    """Return a difference of shares such as ``0.79`` as ``+79.0 points``."""
    return f"{signed_points(value)} points" if is_number(value) else MISSING


def signed_points(value: Any) -> str:
    """Return a difference of shares such as ``0.79`` as ``+79.0``."""
    if not is_number(value):
        return MISSING
    return ("+" if value > 0 else "") + number(100 * value, 1)


def rate_interval(rate: Mapping[str, Any]) -> str:
    """Return the interval of a rate as ``74.0–85.0 %``."""
    low, high = rate.get("low"), rate.get("high")
    if not (is_number(low) and is_number(high)):
        return MISSING
    return f"{number(100 * low, 1)}–{percent(high)}"


def difference_interval(low: Any, high: Any) -> str:
    """Return the interval of a difference as ``+73.1 to +84.2``."""
    if not (is_number(low) and is_number(high)):
        return MISSING
    return f"{signed_points(low)} to {signed_points(high)}"


def p_value(value: Any) -> str:
    """Return a p-value with two significant digits, never as zero."""
    if not is_number(value):
        return MISSING
    if value < 0.0001:
        return f"<{NBSP}0.0001"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def duration(seconds: Any) -> str:
    """Return seconds as ``41 s``, ``3 min 12 s`` or ``2 h 05 min``."""
    if not is_number(seconds):
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{number(seconds, 1 if seconds < 10 else 0)}{NBSP}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes:02d}{NBSP}min"


def estimated_duration(seconds: float) -> str:
    """Return a time as an estimate knows it, to two digits: ``95 s``, ``3.2 hours``."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(max(1, seconds))} s"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}"


def calculator(on: Any) -> str:
    """Name a calculator setting."""
    return "calculator on" if on else "calculator off"
