"""Which objective a recipe trains with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mathtune.config.schema import Recipe
from mathtune.records import Problem

if TYPE_CHECKING:
    from mathtune.training.objective import Learning


def learning_of(
    recipe: Recipe, problems: Sequence[Problem], validation: Sequence[Problem] = ()
) -> Learning | None:
    """Return how a recipe learns from its training problems; None: from their solutions."""
    if recipe.train.objective == "sft":
        return None
    if recipe.train.objective == "dpo":
        from mathtune.learning.preference.dpo import Preference

        return Preference(recipe, problems)
    if recipe.train.objective == "verifier":
        from mathtune.learning.verifier.training import VerdictLearning

        return VerdictLearning(recipe, problems, validation)
    if recipe.train.objective == "gkd":
        from mathtune.learning.distillation.gkd import Distillation

        return Distillation(recipe, problems)
    from mathtune.learning.policy_gradient.grpo import GroupRelative

    return GroupRelative(recipe, problems)


def check_teacher(recipe: Recipe, tokenizer: Any) -> None:
    """Check early that the teacher of a distillation, if there is one, has the model's tokenizer.

    Raises:
        ModelError: It has another one, or none.
    """
    if recipe.train.objective == "gkd":
        from mathtune.learning.distillation.teacher import check_teacher as check

        check(recipe, tokenizer)


def pairs_in(recipe: Recipe, problems: Sequence[Problem]) -> int | None:
    """Return how many pairs of answers a recipe learns to prefer; None where it learns from none.

    Raises:
        DataError: Its sample file cannot be read, or gives no pair.
    """
    if recipe.train.objective != "dpo":
        return None
    from mathtune.learning.preference.pairs import count_pairs

    return count_pairs(recipe.dpo, problems)
