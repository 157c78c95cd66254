"""The recipe's model on the workers of a Ray cluster.

They do not score a given text, so perplexity cannot be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.generation.engine import Engine
from mathtune.generation.ray import RayEngine
from mathtune.generation.ray.workers import Placement
from mathtune.models import files as model_files
from mathtune.models.remote import load_vllm
from mathtune.prompts import Renderer
from mathtune.records import Problem


@dataclass(frozen=True)
class RayModel:
    """The recipe's model, loaded by each worker, and prompted with ids of its tokenizer."""

    recipe: Recipe
    tokenizer: Any

    @cached_property
    def _engine(self) -> RayEngine:
        config, model = self.recipe.eval, self.recipe.model
        name = model_files.resolve(model.name_or_path or "")
        if Path(name).is_dir():  # workers have another working folder
            name = str(Path(name).absolute())
        there = self.recipe.model_copy(
            update={"model": model.model_copy(update={"name_or_path": name})}
        )
        placement = Placement(
            config.workers, config.num_cpus, config.num_gpus, config.tensor_parallel_size
        )
        return RayEngine(partial(load_engine, there), placement)

    def engine(self) -> RayEngine:
        """Return the engine whose workers hold the model."""
        return self._engine

    def renderer(self, *, shots: Sequence[Problem] = ()) -> Renderer:
        """Return the renderer of the recipe's prompt style."""
        prompt = self.recipe.prompt
        return Renderer(self.tokenizer, prompt.style, system=prompt.system, shots=shots)


def load_engine(recipe: Recipe) -> Engine:
    """Load a worker's engine, in that worker.

    Raises:
        ModelError: The model cannot be loaded there.
    """
    if recipe.eval.worker_engine == "vllm":
        return load_vllm(recipe)
    from mathtune.generation.hf import HFEngine
    from mathtune.models import loading
    from mathtune.models.checks.weights import check_vocabulary
    from mathtune.models.compute import pick_compute

    loading.quiet_libraries()
    config, name = recipe.model, recipe.model.name_or_path or ""
    compute = pick_compute(config.dtype, trains_all_weights=recipe.adapter is None)
    tokenizer = loading.load_tokenizer(name, config.revision, trust=config.trust_remote_code)
    model = loading.load_model(config, compute)
    check_vocabulary(name, tokenizer, model)
    return HFEngine(model, tokenizer, rows=recipe.eval.batch_size)
