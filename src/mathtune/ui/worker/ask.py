"""A run's base and tuned model answer one problem, a token of each in turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import mathtune as mt
from mathtune.binding.file_hashes import file_state
from mathtune.config import as_override
from mathtune.conversation import BASE, ChatModel, find, side_by_side
from mathtune.records import CUT_OFF, Completion
from mathtune.report import wording
from mathtune.run_paths import RunPaths
from mathtune.ui.answers.answer_pages import LONGEST, marked

State = tuple[tuple[str | int, ...], ...]


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield per side ``loading``, ``ready``, ``text`` as it grows and ``answer``; then ``done``.

    Args:
        request: ``run`` (a run folder), ``sides`` (``base``, ``tuned`` or both), ``calculator``,
            ``most`` (new tokens), ``question`` and ``gold``, which may be empty.
    """
    sides, models = request["sides"], []
    weights = _state(RunPaths(Path(request["run"])))
    for side in sides:
        yield {"event": "loading", "side": side}
        model = _model(request["run"], BASE in sides, int(request["most"]), side, weights)
        model.calculator = bool(request["calculator"])
        model.reset()  # each question is independent
        models.append(model)
        yield {"event": "ready", "side": side}
    shown: list[Any] = [None] * len(models)
    for states in side_by_side(models, request["question"]):
        for index, (side, state) in enumerate(zip(sides, states, strict=True)):
            if state is None or state is shown[index]:
                continue
            shown[index] = state
            yield {"event": "text", "side": side, "text": state.text.strip()[:LONGEST]}
            if state.completion is not None:
                yield {"side": side, **checked(state.completion, request["gold"])}
    yield {"event": "done"}


def checked(completion: Completion, gold: str) -> dict[str, Any]:
    """Return an answer with its false equations marked, graded if the gold answer is known."""
    text, stop = completion.text.strip(), completion.stop_reason.value
    event = {"event": "answer", "text": marked(text), "tokens": len(completion.ids)}
    event |= {"ending": wording.ending(stop)}
    if gold:
        grade = mt.grade(text, gold, finished=stop not in CUT_OFF)
        event |= {"correct": grade.correct, "outcome": grade.outcome.value, "reason": grade.reason}
    return event


def _state(run: RunPaths) -> State:
    """Return what changes when a run is trained again in the same folder."""
    files = [run.recipe, *sorted(run.model.iterdir())]
    return tuple((file.name, *file_state(file)) for file in files)


@lru_cache(maxsize=2)
def _model(run: str, against_base: bool, most: int, side: str, state: State) -> ChatModel:
    """Load one side; base and tuned are prompted alike, as the run was.

    With another ``state`` it is loaded again.
    """
    del state
    tuned, *base = find(
        run, BASE if against_base else None, [as_override("eval.max_new_tokens", most)]
    )
    return ChatModel(side, (base[0] if side == BASE else tuned).recipe)
