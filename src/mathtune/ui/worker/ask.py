"""A run's base and tuned model answer one problem."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import mathtune as mt
from mathtune.records import CUT_OFF
from mathtune.ui.answers.answer_pages import marked


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield per side ``loading``, ``ready``, ``text`` as it grows and ``answer``; then ``done``.

    Args:
        request: ``models`` (side to name or folder), ``recipe`` (a run's), ``calculator``,
            ``most`` (new tokens), ``question`` and ``gold``, which may be empty.
    """
    asked = (request["recipe"], bool(request["calculator"]), int(request["most"]))
    for side, name in request["models"].items():
        yield {"event": "loading", "side": side}
        chat = _model(name, *asked)
        yield {"event": "ready", "side": side}
        found = chat.ask(request["question"])
        yield {
            "side": side,
            **checked(found.text, found.stop_reason, found.tokens, request["gold"]),
        }
    yield {"event": "done"}


def checked(text: str, stop_reason: str, tokens: int, gold: str) -> dict[str, Any]:
    """Return an answer with its false equations marked, graded if the gold answer is known."""
    event = {"event": "answer", "text": marked(text), "tokens": tokens, "stop": stop_reason}
    if gold:
        grade = mt.grade(text, gold, finished=stop_reason not in CUT_OFF)
        event |= {"correct": grade.correct, "outcome": grade.outcome.value, "reason": grade.reason}
    return event


@lru_cache(maxsize=2)
def _model(model: str, recipe: str, calculator: bool, most: int) -> mt.Chat:
    overrides = {"model": model, "eval.max_new_tokens": most}
    return mt.chat(model, recipe=recipe, calculator=calculator, overrides=overrides)
