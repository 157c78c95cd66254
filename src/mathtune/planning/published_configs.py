"""Published configurations of gated models, so that the seed recipes can be planned offline.

Only what decides sizes and shapes; the rest is Transformers' default for the model type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PUBLISHED_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "google/gemma-2b": {
        "model_type": "gemma",
        "vocab_size": 256_000,
        "hidden_size": 2048,
        "intermediate_size": 16_384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-2-7b-hf": {
        "model_type": "llama",
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    },
}
