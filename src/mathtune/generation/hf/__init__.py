"""The local engine: any Transformers causal language model, on CPU or CUDA."""

from mathtune.generation.hf.engine import GenerationStats, HFEngine

__all__ = ["GenerationStats", "HFEngine"]
