"""Any server that speaks OpenAI's API: vLLM, llama.cpp, Ollama, ``transformers serve``, OpenAI."""

from mathtune.generation.openai.engine import OpenAIEngine
from mathtune.generation.openai.requests import OpenAIStats
from mathtune.generation.openai.wire import Endpoint

__all__ = ["Endpoint", "OpenAIEngine", "OpenAIStats"]
