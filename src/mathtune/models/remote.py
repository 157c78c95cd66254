"""Models that are only queried: behind a server, or in vLLM's own process.

Their engines have no calculator and do not score a given text, so neither the other calculator
setting nor perplexity can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.generation.openai import Endpoint, OpenAIEngine
from mathtune.generation.vllm import VLLMEngine
from mathtune.models import files as model_files
from mathtune.prompts import Renderer, TextRenderer
from mathtune.records import Problem


@dataclass(frozen=True)
class ServedModel:
    """The recipe's model behind an OpenAI-compatible server, which has weights and tokenizer."""

    recipe: Recipe

    def engine(self) -> OpenAIEngine:
        """Return an engine that sends requests to the server.

        Raises:
            ConfigError: The address is not usable.
        """
        config = self.recipe.eval
        return OpenAIEngine(
            self.recipe.model.name_or_path or "",
            config.base_url or "",
            endpoint=Endpoint(config.endpoint),
            concurrency=config.concurrency,
            requests_per_minute=config.requests_per_minute,
            timeout_seconds=config.timeout_seconds,
            api_key_env=config.api_key_env,
        )

    def renderer(self, *, shots: Sequence[Problem] = ()) -> TextRenderer:
        """Return the renderer of the recipe's prompt style."""
        prompt = self.recipe.prompt
        return TextRenderer(prompt.style, system=prompt.system, shots=shots)


@dataclass(frozen=True)
class VLLMModel:
    """The recipe's model, loaded by vLLM once and prompted with ids of its own tokenizer."""

    recipe: Recipe
    tokenizer: Any

    @cached_property
    def _engine(self) -> VLLMEngine:
        return load_vllm(self.recipe)

    def engine(self) -> VLLMEngine:
        """Return the engine that holds the model.

        Raises:
            ModelError: vLLM is not installed, or cannot load the model.
        """
        return self._engine

    def renderer(self, *, shots: Sequence[Problem] = ()) -> Renderer:
        """Return the renderer of the recipe's prompt style."""
        prompt = self.recipe.prompt
        return Renderer(self.tokenizer, prompt.style, system=prompt.system, shots=shots)


def load_vllm(recipe: Recipe) -> VLLMEngine:
    """Load the recipe's model with vLLM in this process.

    Raises:
        ModelError: vLLM is not installed, or cannot load the model.
    """
    model = recipe.model
    return VLLMEngine(
        model_files.resolve(model.name_or_path or ""),
        tensor_parallel_size=recipe.eval.tensor_parallel_size,
        dtype=model.dtype,
        revision=model.revision,
        tokenizer_revision=model.revision,
        trust_remote_code=False,
    )
