"""Samples a second: the hf engine against ``generate`` with ``num_return_sequences``.

    python benchmarks/sample_vs_generate.py --problems 32 --samples 16 --rounds 3

Prints one JSON line a measurement and a last one with the ratios. All decode the same model in
float32 at temperature 0.7 with the same limit on new tokens, in turn within each round.
``generate`` is called in two ways: as it is mostly written, one problem a call, and with the number
of problems per call that is fastest for it among those tried. Times are processor times, so that
other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.models.files import resolve
from mathtune.problems.generate import generate
from mathtune.prompts import named_shots
from mathtune.prompts.render import Renderer
from mathtune.records import Prompt


def run_mathtune(engine: HFEngine, prompts: Sequence[Prompt], decoding: Decoding) -> list[int]:
    """Return the lengths of the hf engine's samples, in tokens."""
    return [len(each.ids) for each in engine.generate(prompts, decoding)]


def run_generate(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], decoding: Decoding, batch: int
) -> list[int]:
    """Return the lengths of ``generate``'s samples, ``batch`` prompts of like length at a time."""
    ordered = sorted(prompts, key=lambda prompt: -len(prompt.ids))
    lengths: list[int] = []
    for start in range(0, len(ordered), batch):
        chunk = [list(prompt.ids) for prompt in ordered[start : start + batch]]
        inputs = tokenizer.pad({"input_ids": chunk}, return_tensors="pt", padding_side="left")
        found = model.generate(
            **inputs,
            do_sample=True,
            temperature=decoding.temperature,
            top_k=0,
            num_return_sequences=decoding.samples,
            max_new_tokens=decoding.max_new_tokens,
        )
        for ids in found[:, inputs["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in ids
            lengths.append(ids.index(tokenizer.eos_token_id) + 1 if ended else len(ids))
    return lengths


def measure(name: str, run: Callable[[], list[int]], **fields: object) -> float:
    """Print one JSON line; return samples a second of processor time."""
    began = time.process_time()
    lengths = run()
    rate = len(lengths) / (time.process_time() - began)
    line = {"engine": name, "samples_per_second": round(rate, 2), "samples": len(lengths)}
    print(json.dumps({**line, "mean_tokens": round(statistics.mean(lengths), 1), **fields}))
    return rate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--shots", type=int, default=0, help="solved examples in each prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=160)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8], help="besides 1")
    parser.add_argument("--model", default="tiny-base")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    folder = resolve(options.model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    shots = named_shots("word-problems", options.shots) if options.shots else ()
    renderer = Renderer(tokenizer, "qa", shots=shots)
    problems = generate(options.problems, seed=7)
    prompts = [renderer.prompt(problem.question, problem.id) for problem in problems]
    decoding = Decoding(options.new_tokens, temperature=0.7, samples=options.samples)
    engine = HFEngine(model, tokenizer)
    mean = statistics.mean(len(prompt.ids) for prompt in prompts)
    print(json.dumps({"problems": len(prompts), "mean_prompt_tokens": round(mean, 1)}))
    batches = sorted({1, *options.batches})
    few = prompts[: max(batches)]

    def peer(prompts: Sequence[Prompt], batch: int, **fields: object) -> float:
        run = partial(run_generate, model, tokenizer, prompts, decoding, batch)
        return measure("generate", run, problems_per_call=batch, **fields)

    best = max(batches, key=lambda batch: peer(few, batch))
    ratios: dict[int, list[float]] = {1: [], best: []}
    for number in range(options.rounds):
        theirs = {batch: peer(prompts, batch, round=number) for batch in ratios}
        ours = measure("mathtune", partial(run_mathtune, engine, prompts, decoding), round=number)
        for batch, rate in theirs.items():
            ratios[batch].append(ours / rate)
    for batch, each in ratios.items():
        found = {"ratio_median": statistics.median(each), "ratio_min": min(each)}
        print(json.dumps({"problems_per_call": batch, "is_best": batch == best, **found}))


if __name__ == "__main__":
    main()
