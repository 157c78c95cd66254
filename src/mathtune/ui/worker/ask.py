"""One model's answer to one problem, as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import mathtune as mt
from mathtune.records import CUT_OFF
from mathtune.ui.answer_pages import marked


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``loading``, then ``text`` as the answer grows, then ``done`` with the verdict.

    Args:
        request: ``model`` and ``recipe`` (a run's), ``calculator``, ``question`` and ``gold``,
            which may be empty.
    """
    yield {"event": "loading"}
    chat = _model(
        request["model"], request["recipe"], bool(request["calculator"]), int(request["most"])
    )
    yield {"event": "ready"}
    found = chat.ask(request["question"])
    event = {
        "event": "done",
        "text": marked(found.text),
        "tokens": found.tokens,
        "stop": found.stop_reason,
    }
    if request.get("gold"):
        finished = found.stop_reason not in CUT_OFF
        grade = mt.grade(found.text, request["gold"], finished=finished)
        event |= {"correct": grade.correct, "outcome": grade.outcome.value, "reason": grade.reason}
    yield event


@lru_cache(maxsize=1)
def _model(model: str, recipe: str, calculator: bool, most: int) -> mt.Chat:
    overrides = {"model": model, "eval.max_new_tokens": most}
    return mt.chat(model, recipe=recipe, calculator=calculator, overrides=overrides)
