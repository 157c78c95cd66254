"""A model that accelerate trains in bf16 decodes as it does when it is loaded."""

from __future__ import annotations

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Completion, Prompt
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe


def test_decoding_is_packed_and_in_float32_while_training_is_in_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    monkeypatch.setattr(PartialState, "_shared_state", {})
    tokenizer = bpe()
    model = tiny_model("llama", len(tokenizer), hidden_size=64)
    prompts = [Prompt(str(n), "", tuple(range(5, 12 + n))) for n in range(3)]

    def answers() -> list[tuple[str, tuple[int, ...], tuple[float, ...] | None]]:
        engine = HFEngine(model, tokenizer)
        decoding = Decoding(max_new_tokens=12, temperature=1.0, logprobs=True)
        made: list[Completion] = list(engine.generate(prompts, decoding))
        assert engine.stats.plain_reason is None
        return sorted((each.problem_id, each.ids, each.logprobs) for each in made)

    before = answers()
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    trained = accelerator.prepare(model)
    wrapped = trained.forward
    assert trained is model and "_original_forward" in vars(model)
    assert answers() == before
    assert model.forward == wrapped  # training goes on in bf16
