"""Greedy 5-shot GSM8K: the hf engine against lm-evaluation-harness and plain ``generate``.

    python benchmarks/eval_vs_lm_eval.py --problems 256 --rounds 3

Prints one JSON line a measurement and a last one with the ratios. All engines decode the same
14M-parameter Llama shape (8k vocabulary, fp32) on the same prompts, in turn within each round, and
their outputs are compared. Needs ``MATHTUNE_DATA_DIR`` and ``pip install "mathtune[bench]"``.

The weights are random, since speed does not depend on what is said but on how much of it: drawn
wide enough that greedy output varies instead of falling into a loop. ``EndingLlama`` adds to the
logit of the end of text a term that grows with the position, so answers end at lengths that vary
from problem to problem, with the mean of GSM8K's own solutions. The term is part of the model's
forward pass, so every engine gets it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import logging as transformers_logging
from transformers.modeling_outputs import CausalLMOutputWithPast

from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Prompt

SHOT = "Question: {question}\nAnswer: {answer}"
STOP = ("Question:", "<|im_end|>")
VOCABULARY = 8192
SHOTS = slice(45, 50)  # of the train split: 709 tokens, about what five typical examples have


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with 8k entries."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="</s>", pad_token="<pad>", padding_side="left"
    )


class EndingLlama(LlamaForCausalLM):
    """A Llama that is the likelier to end its text the further it is."""

    ends_at = 0.0  # position at which the end of text gets no bonus and no malus
    _per_token = 0.03  # of the logits' standard deviation

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        output = super().forward(
            input_ids=input_ids,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        last = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        kept = position_ids[:, last]
        bonus = (kept - self.ends_at) * (self._per_token * self.logit_scale)
        output.logits[..., self.config.eos_token_id] += bonus
        return output


def build_model(tokenizer: PreTrainedTokenizerFast) -> EndingLlama:
    """Return the model with random weights."""
    torch.manual_seed(0)
    model = EndingLlama(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=384,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.08,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
    model.logit_scale = 0.0
    ids = torch.randint(VOCABULARY, (1, 64))
    with torch.no_grad():
        model.logit_scale = model(ids).logits.std().item()
    return model


def set_lengths(
    model: EndingLlama, engine: HFEngine, prompts: list[Prompt], new_tokens: int, mean: float
) -> None:
    """Move the position around which answers end until they are ``mean`` tokens long."""
    low, high = 0.0, 2048.0
    for _ in range(12):
        model.ends_at = (low + high) / 2
        lengths = [len(c.ids) for c in engine.generate(prompts, Decoding(new_tokens))]
        longer = statistics.mean(lengths) > mean
        low, high = (low, model.ends_at) if longer else (model.ends_at, high)


def run_mathtune(engine: HFEngine, prompts: list[Prompt], new_tokens: int) -> list[str]:
    """Return the texts of the hf engine."""
    decoding = Decoding(max_new_tokens=new_tokens, stop=STOP)
    texts = {c.problem_id: c.text for c in engine.generate(prompts, decoding)}
    return [texts[prompt.problem_id] for prompt in prompts]


def run_generate(
    model: EndingLlama,
    tokenizer: PreTrainedTokenizerFast,
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
    model: EndingLlama,
    tokenizer: PreTrainedTokenizerFast,
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


def run_batching(
    model: EndingLlama, tokenizer: PreTrainedTokenizerFast, prompts: list[Prompt], new_tokens: int
) -> list[str]:
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="of the hf engine; its own choice if not given")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 4, 8, 16], help="sizes tried for the peers"
    )
    parser.add_argument(
        "--transformers-batching",
        type=int,
        default=0,
        metavar="N",
        help="also run Transformers' generate_batch, once, on N problems",
    )
    options = parser.parse_args()
    data = os.environ.get("MATHTUNE_DATA_DIR")
    if not data:
        sys.exit("MATHTUNE_DATA_DIR is not set; give the folder that holds gsm8k/train.jsonl")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    new = options.new_tokens

    train = read(Path(data) / "gsm8k" / "train.jsonl")
    test = read(Path(data) / "gsm8k" / "test.jsonl")[: options.problems]
    tokenizer = train_tokenizer([SHOT.format(**row) for row in train])
    shots = "".join(SHOT.format(**row) + "\n\n" for row in train[SHOTS])
    prompts = []
    for i, row in enumerate(test):
        text = f"{shots}Question: {row['question']}\nAnswer:"
        ids = tokenizer.encode(text, add_special_tokens=False)
        prompts.append(Prompt(str(i), text, tuple(ids)))
    solutions = [len(tokenizer.encode(f" {row['answer']}")) for row in train[:2000]]
    mean = statistics.mean(min(length, new) for length in solutions)

    model = build_model(tokenizer)
    engine = HFEngine(model, tokenizer, rows=options.rows)
    set_lengths(model, engine, prompts[:64], new, mean)
    lengths = sorted(len(c.ids) for c in engine.generate(prompts, Decoding(new)))
    setup = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "problems": len(prompts),
        "shared_prefix_tokens": engine.stats.shared_prefix_tokens,
        "own_prompt_tokens": round(engine.stats.prompt_tokens / len(prompts), 1),
        "new_tokens_mean": round(statistics.mean(lengths), 1),
        "new_tokens_deciles": lengths[:: max(1, len(lengths) // 10)],
        "threads": options.threads,
        "rows": engine.stats.rows,
    }
    print(json.dumps({"setup": setup}), flush=True)

    peers = {"lm_eval": run_harness, "generate": run_generate}
    runs = {"mathtune": partial(run_mathtune, engine, prompts, new)}
    tried = prompts[:32]
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
