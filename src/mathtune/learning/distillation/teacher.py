"""The teacher of a distillation: loaded next to the model in training, with the same tokenizer."""

from __future__ import annotations

import logging
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.errors import ModelError
from mathtune.models import loading as models
from mathtune.models.compute import pick_compute

log = logging.getLogger(__name__)


def check_teacher(recipe: Recipe, tokenizer: Any) -> None:
    """Check that the teacher of a recipe reads the same tokens as its model.

    Raises:
        ModelError: The teacher has no tokenizer, or another one.
    """
    config = recipe.gkd
    name = config.teacher_model_name_or_path
    assert name is not None  # the schema asks for it
    theirs = models.load_tokenizer(
        name, config.teacher_revision, trust=recipe.model.trust_remote_code
    )
    own, other = tokenizer.get_vocab(), theirs.get_vocab()
    differing = {token for token, _ in own.items() ^ other.items()}
    if differing:
        raise ModelError(
            f"the teacher {name} has another tokenizer than {recipe.model.name_or_path}: "
            f"{len(differing):,} tokens differ, for example {min(differing)!r}, so their "
            "probabilities cannot be compared token by token; name a teacher of the same model "
            "family, or train on its samples (mathtune sample, mathtune select)"
        )


def load_teacher(recipe: Recipe) -> Any:
    """Return the teacher of a recipe, in evaluation mode and without gradients.

    Raises:
        ModelError: It cannot be loaded.
    """
    config = recipe.teacher
    assert config is not None  # the objective is gkd
    compute = pick_compute(config.dtype)  # as a model that is measured only
    log.info(f"loading the teacher {config.name_or_path}")
    return models.load_model(config, compute).eval().requires_grad_(False)
