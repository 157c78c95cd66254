"""The scripted engine keeps the protocol of the others."""

from __future__ import annotations

import pytest

from mathtune.errors import ModelError
from mathtune.generation import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Prompt, StopReason


def prompt(problem_id: str) -> Prompt:
    return Prompt(problem_id, "Question?", (1, 2))


def test_answers_by_problem_and_sample():
    engine = ScriptedEngine({"a": "#### 1", "b": ["#### 2", "#### 3"]})
    found = list(engine.generate([prompt("a"), prompt("b")], Decoding(samples=3)))
    assert [(c.problem_id, c.sample, c.text) for c in found] == [
        ("a", 0, "#### 1"),
        ("a", 1, "#### 1"),
        ("a", 2, "#### 1"),
        ("b", 0, "#### 2"),
        ("b", 1, "#### 3"),
        ("b", 2, "#### 2"),
    ]
    assert engine.asked == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


def test_stop_reasons():
    engine = ScriptedEngine(
        {"stop": "#### 1\nQuestion: more", "cut": "and then", "end": ""}, truncated=["cut"]
    )
    prompts = [prompt("stop"), prompt("cut"), prompt("end")]
    found = list(engine.generate(prompts, Decoding(stop=("Question:",))))
    assert [(c.text, c.stop_reason) for c in found] == [
        ("#### 1\n", StopReason.STOP_STRING),
        ("and then", StopReason.LENGTH),
        ("", StopReason.EOS),
    ]


def test_a_problem_without_answer_is_an_error_not_an_empty_text():
    with pytest.raises(ModelError, match="'b'"):
        list(ScriptedEngine({"a": "1"}).generate([prompt("b")], Decoding()))
