"""Greedy decoding with few-shot prompts: the hf engine against Transformers' ``generate``.

    GPU_WORK=FOLDER python benchmarks/gpu/evaluate.py mathtune generate
    GPU_WORK=FOLDER python benchmarks/gpu/evaluate.py static

A Llama shape of 1.0 billion parameters in bf16 with random weights decodes 256 prompts that share
a prefix of 700 tokens. Answers end at lengths that vary as GSM8K's solutions do, as in
``eval_vs_lm_eval.py``. ``generate`` gets batches of prompts of like length, 64 and 256 at a time;
``static`` is ``generate``
with a static cache, which Transformers compiles into CUDA graphs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig
from transformers import logging as transformers_logging

sys.path.insert(0, str(Path(__file__).parents[1]))

from shared import DRY_RUN, bf16, device, emit, matmul_rate, peak_gb, reported

from ending_llama import EndingLlama, train_tokenizer
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Prompt

SIZES = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
PROMPTS, PREFIX, NEW, MEAN = 256, 700, 192, 100
BATCHES = (64, 256)
if DRY_RUN:
    SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    PROMPTS, PREFIX, NEW, MEAN, BATCHES = 12, 40, 24, 12, (4,)


def make_model(tokenizer: Any) -> EndingLlama:
    """Return the model, with weights drawn wide enough that greedy output varies."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **SIZES,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=bf16(),
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(bf16())
    try:
        with torch.device(device()):
            model = EndingLlama(config).eval()
    finally:
        torch.set_default_dtype(before)
    model.logit_scale = 0.0
    with torch.no_grad():
        ids = torch.randint(len(tokenizer), (1, 64), device=device())
        model.logit_scale = model(ids).logits.float().std().item()
    return model


def make_prompts(vocabulary: int) -> list[Prompt]:
    """Return prompts of random tokens: one prefix, then 40 to 160 of their own."""
    draw = random.Random(0)
    prefix = [draw.randrange(2, vocabulary) for _ in range(PREFIX)]
    own = [
        [draw.randrange(2, vocabulary) for _ in range(draw.randint(40, 160))]
        for _ in range(PROMPTS)
    ]
    return [Prompt(str(n), "", (*prefix, *ids)) for n, ids in enumerate(own)]


def set_ends(model: EndingLlama, tokenizer: Any, prompts: list[Prompt]) -> None:
    """Move the position around which answers end until they are about ``MEAN`` tokens long."""
    low, high = PREFIX - 400.0, PREFIX + 400.0
    for _ in range(4):
        model.ends_at = (low + high) / 2
        made = with_engine(model, tokenizer, prompts)
        longer = sum(map(len, made)) > MEAN * len(made)
        low, high = (low, model.ends_at) if longer else (model.ends_at, high)


def with_engine(model: Any, tokenizer: Any, prompts: list[Prompt]) -> list[list[int]]:
    """Return the new tokens of the hf engine."""
    engine = HFEngine(model, tokenizer)
    found = {c.problem_id: list(c.ids) for c in engine.generate(prompts, Decoding(NEW))}
    if engine.stats.plain_reason:
        raise RuntimeError(f"decoded one row at a time: {engine.stats.plain_reason}")
    return [found[prompt.problem_id] for prompt in prompts]


def with_generate(
    model: Any, tokenizer: Any, prompts: list[Prompt], batch: int, new: int = NEW, **options: Any
) -> list[list[int]]:
    """Return the new tokens of ``generate`` on batches of prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids))
    found: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), batch):
        chunk = order[first : first + batch]
        padded = tokenizer.pad(
            {"input_ids": [list(prompts[i].ids) for i in chunk]}, return_tensors="pt"
        )
        inputs = {name: padded[name].to(device()) for name in ("input_ids", "attention_mask")}
        made = model.generate(**inputs, max_new_tokens=new, do_sample=False, **options)
        for i, ids in zip(chunk, made[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            end = (
                ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
            )
            found[i] = ids[:end]
    return found


def measure(
    name: str, run: Callable[[], list[list[int]]], model: Any, reference: list[list[int]] | None
) -> list[list[int]]:
    """Print one JSON line; return the new tokens."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - start
    tokens = sum(map(len, found))
    weights = sum(p.numel() for p in model.parameters())
    figures: dict[str, Any] = {
        "problems_per_second": round(len(found) / seconds, 2),
        "new_tokens_per_second": round(tokens / seconds, 1),
        "new_tokens_mean": round(tokens / len(found), 1),
        "matmul_share": round(2 * weights * tokens / seconds / matmul_rate(), 4),
        "peak_memory_gb": peak_gb(),
    }
    if reference is not None:
        same = sum(a == b for a, b in zip(found, reference, strict=True))
        figures["same_as_mathtune"] = f"{same}/{len(found)}"
    emit("evaluate", engine=name, parameters=weights, problems=len(found), **figures)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("engines", nargs="+", choices=("mathtune", "generate", "static"))
    engines = parser.parse_args().engines
    transformers_logging.set_verbosity_error()
    tokenizer = train_tokenizer([f"{n} and {n} are {n + n}\n" for n in range(500)])
    model = make_model(tokenizer)
    prompts = make_prompts(len(tokenizer))
    few = prompts[: max(4, PROMPTS // 8)]
    set_ends(model, tokenizer, few)
    ours = None
    if "mathtune" in engines:
        ours = measure("mathtune", lambda: with_engine(model, tokenizer, prompts), model, None)
    if "generate" in engines:
        with_generate(model, tokenizer, few[:4], 4, new=4)
        for batch in BATCHES:
            run = lambda size=batch: with_generate(model, tokenizer, prompts, size)  # noqa: E731
            measure(f"generate, batch {batch}", run, model, ours)
    if "static" in engines:
        some, batch = prompts[: 2 * BATCHES[0]], BATCHES[0]
        run = lambda: with_generate(  # noqa: E731
            model, tokenizer, some, batch, cache_implementation="static"
        )
        run()  # compiles
        measure(f"generate, static cache, batch {batch}", run, model, None)


if __name__ == "__main__":
    with reported("evaluate"):
        main()
