"""Trained models for other programs: merged, as GGUF, for Ollama, on the hub, as an adapter."""
