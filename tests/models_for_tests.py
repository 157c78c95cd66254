"""Tiny models of real architectures, random weights from configs; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tokenizers_for_tests import bpe

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
ARCHITECTURES = {
    "llama": {"tie_word_embeddings": False},
    "llama-tied": {"tie_word_embeddings": True},
    "gemma": {"head_dim": 8, "num_key_value_heads": 1},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 3.0, "sliding_window": 16},
    "qwen2": {},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "mixtral": {"num_local_experts": 4, "sliding_window": 16},
}


def tiny_model(name: str, vocab_size: int, seed: int = 0, **overrides: object) -> torch.nn.Module:
    """Build a two-layer model of an architecture with weights large enough to matter."""
    config = AutoConfig.for_model(
        name.removesuffix("-tied"),
        **{**SIZES, **ARCHITECTURES.get(name, {}), **overrides},
        vocab_size=vocab_size,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)  # default initialisation gives almost flat logits
    return model


def saved_model(
    folder: Path, name: str, **overrides: object
) -> tuple[Path, PreTrainedTokenizerFast]:
    """Save a tiny model with a byte-level BPE tokenizer as a user's folder would hold it."""
    tokenizer = bpe()
    tiny_model(name, len(tokenizer), **overrides).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer
