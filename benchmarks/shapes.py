"""The models that benchmarks measure, and the GSM8K problems they do it on.

Models with random weights have the shape alone; real ones are as ``mathtune models fetch`` gets
them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

RANDOM = {
    "14m": {"vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "layers": 6},
    "36m": {"vocab_size": 128_000, "hidden_size": 256, "intermediate_size": 688, "layers": 4},
}
REAL = {"smollm2-135m": "smollm2-135m-instruct", "gemma-3-270m": "gemma-3-270m"}
"""Shape → name for ``mathtune models fetch``; the weights are in ``MATHTUNE_CACHE``."""


def check(shape: str) -> None:
    """End the program with code 2 and one sentence each if problems or model are missing."""
    faults = []
    folder = os.environ.get("MATHTUNE_DATA_DIR")
    if not folder:
        faults.append("MATHTUNE_DATA_DIR is not set; set it to the folder that holds gsm8k/")
    else:
        faults += [
            f"{path} does not exist; set MATHTUNE_DATA_DIR to the folder that holds gsm8k/"
            for name in ("train", "test")
            if not (path := Path(folder, "gsm8k", f"{name}.jsonl")).is_file()
        ]
    if shape in REAL:
        from mathtune.models.fetch import MODELS, is_fetched, place

        name = REAL[shape]
        terms = " --accept-license" if MODELS[name].terms else ""
        if not is_fetched(name):
            faults.append(
                f"shape {shape} needs the weights of {name}, and {place(name)} does not exist; run "
                f"mathtune models fetch {name}{terms}"
            )
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(2)


def gsm8k(part: str) -> list[dict[str, str]]:
    """Return the rows of GSM8K's ``train`` or ``test``."""
    path = Path(os.environ["MATHTUNE_DATA_DIR"], "gsm8k", f"{part}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load(shape: str) -> tuple[Any, Any]:
    """Return a real model in float32, and its tokenizer."""
    from mathtune.config.schema import ModelConfig
    from mathtune.models.compute import pick_compute
    from mathtune.models.loading import load_model, load_tokenizer

    name = REAL[shape]
    config = ModelConfig(name_or_path=name, dtype="float32")
    return load_model(config, pick_compute("float32")), load_tokenizer(name)


def build(shape: str) -> tuple[Any, Any]:
    """Return the model and its tokenizer, of a random shape one trained on GSM8K."""
    from mathtune.models.train_tokenizer import train_tokenizer

    if shape in REAL:
        return load(shape)
    rows = gsm8k("train")[:3000]
    tokenizer = train_tokenizer((f"{row['question']}\n{row['answer']}" for row in rows), 8192)
    model = llama(
        RANDOM[shape],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model, tokenizer


def llama(sizes: dict[str, int], **special_tokens: int) -> Any:
    """Return a Llama of these sizes with random weights, tied embeddings and heads of 64."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=sizes["vocab_size"],
            hidden_size=sizes["hidden_size"],
            intermediate_size=sizes["intermediate_size"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["hidden_size"] // 64,
            num_key_value_heads=sizes["hidden_size"] // 64,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            **special_tokens,
        )
    )
