"""An adapter merged into its base, as a model folder; what ``mathtune merge`` does too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.evaluation.measure import decoding_of
from mathtune.exporting.source import Source, check_prompts


def merge(source: Source, recipe: Recipe, output: Path, dtype: str) -> dict[str, Any]:
    """Merge an adapter into its base, checked on the recipe's first test set.

    Args:
        source: The adapter.
        recipe: How it is prompted, and the problems that it is checked on.
        output: Target folder; one made by an earlier merge is replaced.
        dtype: Dtype of the merged weights; ``auto``: that of the training.

    Raises:
        ModelError: The merged model answers differently from the adapter.
        DiskError: There is no room, or ``output`` holds something else.
    """
    from mathtune.models.loading import load_tokenizer
    from mathtune.models.merge import check_output, merge_adapter

    check_output(output)
    renderer, asked = check_prompts(recipe, load_tokenizer(str(source.folder)))
    decoding = decoding_of(recipe.eval, renderer, calculator=False)
    return asdict(merge_adapter(recipe.model, output, asked, decoding, dtype))


def in_words(figures: dict[str, Any]) -> str:
    """Return what a merge made and how it was checked, in two lines."""
    check = figures["check"]
    ties = f", {check['ties']} diverge at a tie" if check["ties"] else ""
    return (
        f"{figures['folder']}: {figures['parameters']:,} parameters in {figures['dtype']}, "
        f"{figures['bytes'] / 2**20:,.1f} MB\n"
        f"as the adapter: {check['same_answers']} of {check['problems']} greedy answers to the "
        f"token{ties}; logits differ by {check['max_logit_difference']:.2g} at most, "
        f"{check['relative_difference']:.1g} of their spread ({check['tolerance']:g} allowed)"
    )
