"""Tiny models with random weights in every architecture that can be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from mathtune.exporting.gguf_format import gguf_file
from mathtune.models.loading import load_tokenizer
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe, sentencepiece

GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"attention_bias": True}),
    "llama-tied": ("llama-tied", {"head_dim": 16, "rope_parameters": LINEAR}),
    "llama3": ("llama", {"rope_parameters": LLAMA_3}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {**GEMMA, "final_logit_softcapping": 30.0}),
    "gemma3": ("gemma3_text", {**GEMMA, "num_hidden_layers": 7}),
}


def saved(folder: Path, name: str, **overrides: Any) -> tuple[Path, PreTrainedTokenizerFast]:
    """Save one of ``MODELS`` with the kind of tokenizer that its family has."""
    kind, settings = MODELS[name]
    tokenizer = sentencepiece() if name.startswith("gemma") else bpe()
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos")}
    rows = overrides.pop("vocab_size", len(tokenizer))
    model = tiny_model(kind, rows, **{**settings, **overrides})
    if name.startswith("gemma"):  # else an embedding outweighs all layers, and tokens repeat
        model.model.embed_tokens.weight.data.mul_(0.05)
    model.generation_config.update(**ids)
    for key, value in ids.items():
        setattr(model.config, key, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, load_tokenizer(str(folder))


def written(folder: Path, file: Path, tokenizer: Any, kind: str = "f32") -> Path:
    """Write a model folder as a GGUF file."""
    contents = gguf_file.read(folder, kind)
    gguf_file.write(contents, tokenizer, file, kind=kind, name="tiny")
    assert file.stat().st_size > contents.nbytes
    return file
