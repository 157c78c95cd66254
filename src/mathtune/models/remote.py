"""Models that are only queried: behind a server, in vLLM's own process, on workers of Ray.

Their engines do not score a given text, so perplexity cannot be measured; those of a server and of
vLLM have no calculator either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.generation.engine import Engine
from mathtune.generation.openai import Endpoint, OpenAIEngine
from mathtune.generation.ray import RayEngine
from mathtune.generation.ray.workers import Placement
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


@dataclass(frozen=True)
class RayModel:
    """The recipe's model on the workers of a Ray cluster, prompted with ids of its tokenizer.

    Attributes:
        recipe: The recipe.
        tokenizer: The model's tokenizer.
        load: Makes a worker's engine from a recipe; called there.
    """

    recipe: Recipe
    tokenizer: Any
    load: Callable[[Recipe], Engine]

    @cached_property
    def _engine(self) -> RayEngine:
        config, model = self.recipe.eval, self.recipe.model
        name = model_files.resolve(model.name_or_path or "")
        if Path(name).is_dir():  # workers have another working folder
            name = str(Path(name).absolute())
        there = model.model_copy(update={"name_or_path": name})
        placement = Placement(
            config.workers, config.num_cpus, config.num_gpus, config.tensor_parallel_size
        )
        recipe = self.recipe.model_copy(update={"model": there})
        return RayEngine(partial(self.load, recipe), placement)

    def engine(self) -> RayEngine:
        """Return the engine whose workers hold the model."""
        return self._engine

    def renderer(self, *, shots: Sequence[Problem] = ()) -> Renderer:
        """Return the renderer of the recipe's prompt style."""
        prompt = self.recipe.prompt
        return Renderer(self.tokenizer, prompt.style, system=prompt.system, shots=shots)
