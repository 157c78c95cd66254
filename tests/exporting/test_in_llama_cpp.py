"""What is exported answers in llama.cpp as the model does; anything else never gets its name."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_exports import MODELS, saved, written
from transformers import AutoModelForCausalLM

from mathtune.errors import ModelError
from mathtune.exporting import runtime, same_answers
from mathtune.exporting.gguf_format import vocabulary
from mathtune.prompts import Renderer
from mathtune.prompts.render import Prompt

if importlib.util.find_spec("xllamacpp") is None:
    pytest.skip(
        "xllamacpp is not installed (pip install 'mathtune[export]')", allow_module_level=True
    )


def prompts(tokenizer: object, n: int = same_answers.PROBLEMS) -> list[Prompt]:
    renderer = Renderer(tokenizer, "qa")
    questions = (f"Tom has {k} apples and buys {7 * k} more. How many now?" for k in range(n))
    return [renderer.prompt(question, str(k)) for k, question in enumerate(questions)]


@pytest.mark.parametrize("name", MODELS)
def test_twenty_of_twenty_answers_are_the_models(name: str, tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", name)
    answers = same_answers.model_answers(folder, tokenizer, prompts(tokenizer))
    assert len({answer.ids for answer in answers}) > 4  # they depend on the question
    file = written(folder, tmp_path / "tiny.gguf", tokenizer, "f32")
    found = same_answers.check(file, "f32", tokenizer, answers)
    assert found.problems == 20 and found.same >= 18
    assert found.largest_gap < 1e-3  # the order of additions decides


@pytest.mark.parametrize(("kind", "gap"), [("q6_k", 0.3), ("q4_k_m", 1.5)])
def test_k_quants_answer_as_the_model_within_their_rounding(
    kind: str, gap: float, tmp_path: Path
) -> None:
    pytest.importorskip("libgguf", reason="libgguf is not installed (pip install libgguf)")
    folder, tokenizer = saved(tmp_path / "model", "qwen2", hidden_size=256, intermediate_size=512)
    answers = same_answers.model_answers(folder, tokenizer, prompts(tokenizer, 6))
    file = written(folder, tmp_path / "tiny.gguf", tokenizer, kind)
    found = same_answers.check(file, kind, tokenizer, answers)
    assert found.problems == 6 and found.largest_gap < gap, found


def test_a_model_that_differs_does_not_pass(tmp_path: Path) -> None:
    """One layer's norm without Gemma's one: every tensor is there, and the answers are others."""
    folder, tokenizer = saved(tmp_path / "model", "gemma")
    answers = same_answers.model_answers(folder, tokenizer, prompts(tokenizer, 5))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight.sub_(1)
    model.save_pretrained(folder)
    file = written(folder, tmp_path / "tiny.gguf", tokenizer, "f16")
    with pytest.raises(ModelError, match=r"answers differently from its model: \d of 5 greedy"):
        same_answers.check(file, "f16", tokenizer, answers)


def test_another_tokenizer_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, tokenizer = saved(tmp_path / "model", "llama")
    answers = same_answers.model_answers(folder, tokenizer, prompts(tokenizer, 1))
    of = vocabulary.vocabulary_of
    monkeypatch.setattr(
        vocabulary, "vocabulary_of", lambda *a: replace(of(*a), merges=of(*a).merges[:100])
    )
    file = written(folder, tmp_path / "tiny.gguf", tokenizer)
    with pytest.raises(ModelError, match=r"llama.cpp tokenises .* differently from the model's"):
        same_answers.check(file, "f32", tokenizer, answers)


def test_a_file_that_the_runtime_cannot_load_is_one_sentence(tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", "llama")
    file = written(folder, tmp_path / "tiny.gguf", tokenizer)
    file.write_bytes(file.read_bytes()[:-2000])
    with (
        pytest.raises(ModelError, match=r"llama.cpp could not use tiny.gguf \(exit code"),
        runtime.opened(file, 512),
    ):
        pass
