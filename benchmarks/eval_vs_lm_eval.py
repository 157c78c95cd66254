"""Greedy 5-shot GSM8K: the hf engine against lm-evaluation-harness and plain ``generate``.

    python benchmarks/eval_vs_lm_eval.py --problems 256 --rounds 3
    python benchmarks/eval_vs_lm_eval.py --shape smollm2-135m

Prints one JSON line a measurement and a last one with the ratios. All engines decode the same model
in float32 on the same prompts, in turn within each round, and their outputs are compared. Needs
``MATHTUNE_DATA_DIR`` and ``pip install "mathtune[bench]"``.

Shape ``14m`` is a Llama with random weights (``ending_llama.py``). ``smollm2-135m`` and
``gemma-3-270m`` are the real models, as ``mathtune models fetch`` gets them; their peer is
lm-evaluation-harness alone, because ``generate`` does not end where the answer does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig
from transformers import logging as transformers_logging

import shapes
from ending_llama import build_model, set_lengths, train_tokenizer
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Prompt
from shapes import gsm8k

SHOT = "Question: {question}\nAnswer: {answer}"
STOP = ("Question:", "<|im_end|>")
SHOTS = slice(45, 50)  # of the train split: 709 tokens, about what five typical examples have


def run_mathtune(engine: HFEngine, prompts: list[Prompt], new_tokens: int) -> list[str]:
    """Return the texts of the hf engine."""
    decoding = Decoding(max_new_tokens=new_tokens, stop=STOP)
    texts = {c.problem_id: c.text for c in engine.generate(prompts, decoding)}
    return [texts[prompt.problem_id] for prompt in prompts]


def run_generate(
    model: Any,
    tokenizer: Any,
    prompts: list[Prompt],
    new_tokens: int,
    batch: int,
) -> list[str]:
    """Return the texts of ``model.generate`` on batches of prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids))
    texts = [""] * len(prompts)
    for first in range(0, len(order), batch):
        chunk = order[first : first + batch]
        inputs = tokenizer.pad(
            {"input_ids": [list(prompts[i].ids) for i in chunk]}, return_tensors="pt"
        )
        output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        for i, ids in zip(chunk, output[:, inputs["input_ids"].shape[1] :], strict=True):
            texts[i] = tokenizer.decode(ids, skip_special_tokens=True)
    return texts


def run_harness(
    model: Any,
    tokenizer: Any,
    prompts: list[Prompt],
    new_tokens: int,
    batch: int,
) -> list[str]:
    """Return the texts of lm-evaluation-harness' Hugging Face backend."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=2048)
    options = {"until": [*STOP, "</s>"], "max_gen_toks": new_tokens, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (prompt.text, dict(options)), i)
        for i, prompt in enumerate(prompts)
    ]
    return harness.generate_until(requests, disable_tqdm=True)


def run_batching(model: Any, tokenizer: Any, prompts: list[Prompt], new_tokens: int) -> list[str]:
    """Return the texts of Transformers' own continuous batching."""
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    before = model.config._attn_implementation
    model.set_attn_implementation("paged|sdpa")
    try:
        found = model.generate_batch([list(p.ids) for p in prompts], generation_config=config)
        return [
            tokenizer.decode(output.generated_tokens, skip_special_tokens=True)
            for output in found.values()
        ]
    finally:
        model.set_attn_implementation(before)


def measure(
    name: str, run: Callable[[], list[str]], problems: int, **fields: object
) -> tuple[float, list[str]]:
    """Print one JSON line; return problems a second and the texts."""
    began = time.perf_counter()
    texts = run()
    rate = problems / (time.perf_counter() - began)
    print(json.dumps({"engine": name, "problems_per_second": round(rate, 3), **fields}), flush=True)
    return rate, texts


def parse() -> argparse.Namespace:
    """Return the options, with defaults for the shape."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=["14m", *shapes.REAL], default="14m")
    parser.add_argument("--problems", type=int, help="default: 256; 32 with a real model")
    parser.add_argument("--rounds", type=int, help="default: 3; 2 with a real model")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="of the hf engine; its own choice if not given")
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        help="sizes tried for the peers; default: 1 4 8 16; 8 16 with a real model",
    )
    parser.add_argument(
        "--transformers-batching",
        type=int,
        default=0,
        metavar="N",
        help="also run Transformers' generate_batch, once, on N problems",
    )
    options = parser.parse_args()
    real = options.shape in shapes.REAL
    options.problems = options.problems or (32 if real else 256)
    options.rounds = options.rounds or (2 if real else 3)
    options.batches = options.batches or ([8, 16] if real else [1, 4, 8, 16])
    shapes.check(options.shape)
    if importlib.util.find_spec("lm_eval") is None:
        print("lm_eval is not installed; run pip install 'mathtune[bench]'", file=sys.stderr)
        sys.exit(2)
    return options


def prepare(options: argparse.Namespace) -> tuple[Any, Any, HFEngine, list[Prompt]]:
    """Return the model, its tokenizer, the hf engine and the prompts."""
    train = gsm8k("train")
    if options.shape in shapes.REAL:
        model, tokenizer = shapes.load(options.shape)
    else:
        tokenizer = train_tokenizer([SHOT.format(**row) for row in train])
        model = build_model(tokenizer)
    shots = "".join(SHOT.format(**row) + "\n\n" for row in train[SHOTS])
    prompts = []
    for i, row in enumerate(gsm8k("test")[: options.problems]):
        text = f"{shots}Question: {row['question']}\nAnswer:"
        # As the harness does: with BOS where the tokenizer adds one.
        prompts.append(Prompt(str(i), text, tuple(tokenizer(text).input_ids)))
    engine = HFEngine(model.eval(), tokenizer, rows=options.rows)
    if options.shape not in shapes.REAL:
        new = options.new_tokens
        solutions = [len(tokenizer.encode(f" {row['answer']}")) for row in train[:2000]]
        mean = statistics.mean(min(length, new) for length in solutions)
        set_lengths(model, engine, prompts[:64], new, mean)
    return model, tokenizer, engine, prompts


def setup(
    options: argparse.Namespace, model: Any, engine: HFEngine, prompts: list[Prompt]
) -> dict[str, Any]:
    """Decode once, which also warms up; return what is measured and how long the answers are."""
    decoding = Decoding(max_new_tokens=options.new_tokens, stop=STOP)
    lengths = sorted(len(c.ids) for c in engine.generate(prompts, decoding))
    return {
        "shape": options.shape,
        "parameters": sum(p.numel() for p in model.parameters()),
        "problems": len(prompts),
        "shared_prefix_tokens": engine.stats.shared_prefix_tokens,
        "own_prompt_tokens": round(engine.stats.prompt_tokens / len(prompts), 1),
        "new_tokens_mean": round(statistics.mean(lengths), 1),
        "new_tokens_deciles": lengths[:: max(1, len(lengths) // 10)],
        "threads": options.threads,
        "rows": engine.stats.rows,
    }


def main() -> None:
    """Measure and print."""
    options = parse()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    new = options.new_tokens
    model, tokenizer, engine, prompts = prepare(options)
    print(json.dumps({"setup": setup(options, model, engine, prompts)}), flush=True)

    peers = {"lm_eval": run_harness, "generate": run_generate}
    if options.shape in shapes.REAL:
        del peers["generate"]
    runs = {"mathtune": partial(run_mathtune, engine, prompts, new)}
    tried = prompts[: 16 if options.shape in shapes.REAL else 32]
    for name, peer in peers.items():
        tries = {
            batch: measure(
                name,
                partial(peer, model, tokenizer, tried, new, batch),
                len(tried),
                batch=batch,
                round="choice of the batch size",
            )[0]
            for batch in options.batches
        }
        best = max(tries, key=tries.__getitem__)
        runs[name] = partial(peer, model, tokenizer, prompts, new, best)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    texts: dict[str, list[str]] = {}
    for number in range(options.rounds):
        for name, run in runs.items():
            rate, texts[name] = measure(name, run, len(prompts), round=number)
            rates[name].append(rate)
    if options.transformers_batching:
        some = prompts[: options.transformers_batching]
        measure("generate_batch", partial(run_batching, model, tokenizer, some, new), len(some))

    result = {}
    for name in peers:
        ratios = [
            ours / theirs for ours, theirs in zip(rates["mathtune"], rates[name], strict=True)
        ]
        pairs = zip(texts["mathtune"], texts[name], strict=True)
        result[name] = {
            "ratio_median": round(statistics.median(ratios), 2),
            "ratio_min": round(min(ratios), 2),
            "same_text": f"{sum(a.strip() == b.strip() for a, b in pairs)}/{len(prompts)}",
        }
    print(json.dumps({"mathtune_against": result}), flush=True)


if __name__ == "__main__":
    main()
