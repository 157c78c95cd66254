"""What the worker of the Try tab sends while two models answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from report_run_folder import build

from mathtune import config
from mathtune.ui.folders import Root
from mathtune.ui.tries import request_of
from mathtune.ui.worker import ask
from models_for_tests import saved_model

QUESTION = "What is 2 + 2?"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A run whose base and tuned model differ."""
    root = tmp_path_factory.mktemp("root")
    base, _ = saved_model(root / "models" / "base", "llama")
    run = build(root / "runs" / "one", parts=("manifest",))
    knobs = [f"model={base}", "prompt.style=chat", "eval.max_new_tokens=8"]
    (run / "recipe.yaml").write_text(config.dump(config.load("demo", knobs)))
    saved_model(run / "model", "llama", num_hidden_layers=1)
    return Root(root / "runs")


def events(root: Root, **given: Any) -> list[dict[str, Any]]:
    _, request = request_of(root, {"run": "one", "question": QUESTION, **given})
    return list(ask.answer(json.loads(json.dumps(request))))


def text_of(event: dict[str, Any]) -> str:
    return "".join(piece for _, piece in event["text"])


def test_both_answers_are_seen_while_they_are_written(root: Root) -> None:
    found = events(root, gold="4")
    names = [event["event"] for event in found]
    assert names[:4] == ["loading", "ready"] * 2 and names[-1] == "done"
    final = {event["side"]: event for event in found if event["event"] == "answer"}
    texts = {side: [e["text"] for e in found if e["event"] == "text" and e["side"] == side]
             for side in ("base", "tuned")}  # fmt: skip
    for side, written in texts.items():
        assert len(set(written)) > 3
        assert written[-1] == text_of(final[side])
        assert final[side]["tokens"] == 8 and final[side]["correct"] is False
    assert texts["base"] != texts["tuned"]
    written_by = [event["side"] for event in found if event["event"] == "text"]
    assert written_by[:4] == ["base", "tuned"] * 2  # a token of each in turn
    last = max(at for at, event in enumerate(found) if event["event"] == "text")
    assert names.index("answer") > last - 2  # no verdict before several texts of both


def test_a_question_is_asked_alone_and_no_model_is_loaded_twice(root: Root) -> None:
    first = events(root)
    misses = ask._model.cache_info().misses
    assert events(root) == first  # in style chat a question before it would be in the prompt
    events(root, calculator=True)
    assert ask._model.cache_info().misses == misses


def test_a_run_that_is_trained_again_answers_with_its_new_weights(root: Root) -> None:
    before = events(root)
    assert ask._model.cache_info().currsize == 2
    saved_model(root.folder / "one" / "model", "llama", num_hidden_layers=3)
    after = events(root)
    answers = [{e["side"]: text_of(e) for e in found if e["event"] == "answer"}
               for found in (before, after)]  # fmt: skip
    assert answers[0]["tuned"] != answers[1]["tuned"]
    assert answers[0]["base"] == answers[1]["base"]


def test_random_weights_have_no_base_to_ask(root: Root) -> None:
    recipe = root.folder / "one" / "recipe.yaml"
    before = recipe.read_text()
    try:
        recipe.write_text(config.dump(config.load("tiny-base")))
        _, request = request_of(root, {"run": "one", "question": QUESTION})
    finally:
        recipe.write_text(before)
    assert request["sides"] == ["tuned"]
    assert {event.get("side") for event in ask.answer(request)} == {"tuned", None}
