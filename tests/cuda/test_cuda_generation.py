"""Decoding on a GPU: the hf engine against ``generate``, plain and with a static cache."""

from __future__ import annotations

import random

import pytest
import torch

from mathtune.generation import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.generation.hf.memory import rows_that_fit
from mathtune.records import Prompt
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

NEW = 16
TOKENIZER = bpe()


def prompts(shared: int, count: int = 9) -> list[Prompt]:
    draw = random.Random(shared)
    prefix = draw.choices(range(2, 390), k=shared)
    own = [[2 + n, *draw.choices(range(2, 390), k=draw.randint(2, 12))] for n in range(count)]
    return [Prompt(f"p{n}", "", (*prefix, *ids)) for n, ids in enumerate(own)]


def plain(model: torch.nn.Module, prompt: Prompt, **options: object) -> tuple[int, ...]:
    ids = torch.tensor([prompt.ids], device="cuda")
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False,
        **options,
    )  # fmt: skip
    return tuple(made[0, len(prompt.ids) :].tolist())


def decoded(
    engine: HFEngine, asked: list[Prompt], decoding: Decoding
) -> dict[str, tuple[int, ...]]:
    return {f"{c.problem_id} {c.sample}": c.ids for c in engine.generate(asked, decoding)}


@pytest.mark.parametrize("shared", [0, 40])
@pytest.mark.parametrize("name", ["llama", "gemma", "gemma2", "qwen2"])
def test_greedy_answers_are_those_of_generate(name: str, shared: int) -> None:
    model = tiny_model(name, len(TOKENIZER)).cuda().eval()
    engine, asked = HFEngine(model, TOKENIZER, rows=4), prompts(shared)
    found = decoded(engine, asked, Decoding(NEW))
    assert engine.stats.plain_reason is None
    same = sum(found[f"{p.problem_id} 0"] == plain(model, p) for p in asked)
    assert same >= len(asked) - 1  # float32 rounds differently for other numbers of rows


def test_greedy_answers_are_those_of_a_static_cache() -> None:
    model = tiny_model("llama", len(TOKENIZER)).cuda().eval()
    asked = prompts(40, count=3)
    found = decoded(HFEngine(model, TOKENIZER), asked, Decoding(NEW))
    options = {"cache_implementation": "static", "disable_compile": True}
    same = sum(found[f"{p.problem_id} 0"] == plain(model, p, **options) for p in asked)
    assert same >= len(asked) - 1


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_bf16_models_are_decoded_packed(name: str) -> None:
    model = tiny_model(name, len(TOKENIZER)).bfloat16().cuda().eval()
    engine = HFEngine(model, TOKENIZER)
    found = decoded(engine, prompts(40), Decoding(NEW, logprobs=True))
    assert engine.stats.plain_reason is None and engine.stats.rows == 9
    assert len(found) == 9


def test_samples_are_the_same_again_also_where_all_must_be_deterministic() -> None:
    """PyTorch refuses sums along a row then, and bf16 logits take no path of their own."""
    model = tiny_model("llama", len(TOKENIZER)).cuda().eval()
    engine = HFEngine(model, TOKENIZER, rows=8)
    decoding = Decoding(NEW, temperature=0.8, top_p=0.9, samples=3, seed=1)
    free = decoded(engine, prompts(40), decoding)
    assert free == decoded(engine, prompts(40), decoding)
    torch.use_deterministic_algorithms(True, warn_only=False)
    try:
        bound = decoded(engine, prompts(40), decoding)
    finally:
        torch.use_deterministic_algorithms(False)
    assert bound.keys() == free.keys()


def test_memory_that_pytorch_keeps_counts_as_free() -> None:
    model = tiny_model("llama", len(TOKENIZER)).cuda()
    torch.cuda.empty_cache()
    row = torch.cuda.mem_get_info()[0] // 40
    before = rows_that_fit(model, row, 1000, 1000, None)
    kept = torch.empty(int(torch.cuda.mem_get_info()[0] * 0.8), dtype=torch.uint8, device="cuda")
    during = rows_that_fit(model, row, 1000, 1000, None)
    del kept
    after = rows_that_fit(model, row, 1000, 1000, None)
    torch.cuda.empty_cache()
    assert during < before // 2 and abs(after - before) <= 1
